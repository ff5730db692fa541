# The torch wheel from PyPI carries the CUDA libraries; the host needs only the NVIDIA driver and its container toolkit.
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 studio \
    && mkdir /workspace && chown studio /workspace

WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY app.py LICENSE README.md ./
COPY .streamlit .streamlit
COPY pages pages
COPY mace_app mace_app
COPY docs docs

USER studio
ENV MACE_APP_WORKSPACE=/workspace PYTHONUNBUFFERED=1
VOLUME /workspace
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
# Inside a container every interface is the container's own; publish the port on 127.0.0.1, as the README shows. The server then asks for a token,
# which `docker logs` shows, and reads data of its workspace only until MACE_APP_DATA_ROOTS names folders.
CMD ["streamlit", "run", "app.py", "--server.address", "0.0.0.0", "--server.port", "8501"]
