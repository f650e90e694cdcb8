"""SafeSQL: questions as checked templates, bound values and a tenant scope that is generated.

`template` and `param` are one file and its parameters, `catalog` all files by name; these three
import no SQL parser, because the server process uses them. `check` proves a template on its syntax
tree, `scope` puts the tenant's CTEs in front of it, `render` writes it for an engine; these three
run in the worker.
"""
