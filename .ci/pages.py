"""Reads and rewrites pages of docs/, for what draws parts of them."""

from __future__ import absolute_import, division, print_function

import io
import os

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def read_page(page):
    """Return the text of a page, named as from the root of the project."""
    with io.open(os.path.join(ROOT, page), encoding='utf-8') as page_file:
        return page_file.read()


def rewrite(pages, draw):
    """Replace each page by what ``draw`` returns for its text and its name."""
    for page in pages:
        drawn = draw(read_page(page), page)
        with io.open(os.path.join(ROOT, page), 'w', encoding='utf-8', newline='\n') as page_file:
            page_file.write(drawn)
