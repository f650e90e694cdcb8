"""Bringing a warehouse's tables to this version.

`plan` reads migration files and says which are pending, `ddl` writes one for an engine, `apply`
runs them over a connection. None of these opens a connection or imports a driver.
"""
