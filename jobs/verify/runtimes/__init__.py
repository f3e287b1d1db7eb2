"""One file for each runtime: how it opens a graph, and how it runs it.

The files are programs for other interpreters, which have neither this package nor its dependencies: `python_worker.py`
imports those for Python by their path, `node_worker.mjs` and `page.html` import those for JavaScript.
"""
