"""A second engine, as another developer would add one: a folder with the parts of a warehouse.

It keeps the contract the slow way: everything in memory, every write reads the whole stream, one
event at a time, and numbers it again. Of a warehouse it has the sink and the migrations.
"""

from tests.contract.toy.engine import ToyWarehouse

__all__ = ["ToyWarehouse"]
