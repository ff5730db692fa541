"""The real worker, whose published files come from the address given: redirected_worker.py ROOT FOLDER."""

import os
import sys

from mace_app.__main__ import main
from mace_app.model.adapter import mace_downloads

root, folder = sys.argv[1:]
for table in (mace_downloads().mace_mp_urls, mace_downloads().mace_off_urls):
    for key, address in table.items():
        table[key] = f"{root}/{os.path.basename(address)}"
main(["work", folder])
