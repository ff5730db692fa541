// Links to files that the server streams from disk.

export default function ({ data, parentElement }) {
  const list = parentElement.querySelector(".files");
  list.setAttribute("aria-label", data.label);
  list.replaceChildren(
    ...data.files.map((file) => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = file.url;
      link.download = "";
      link.className = file.primary ? "primary" : "";
      link.title = file.name;
      link.append(file.title, " ");
      const size = document.createElement("span");
      size.className = "size";
      size.textContent = file.size;
      link.append(size);
      item.append(link);
      return item;
    }),
  );
}
