# Makes a NamedTuple without the Python function that its class has for that; inline, so there is no module.
from cpython.object cimport PyObject, PyTypeObject
from cpython.type cimport PyType_IsSubtype


cdef inline object record(object kind, tuple values):
    cdef tuple arguments = (values,)
    if not PyType_IsSubtype(<type?>kind, tuple):
        raise TypeError(f"native.namedtuple: expected a NamedTuple's class, was {kind}")
    return (<PyTypeObject*>tuple).tp_new(<type>kind, <PyObject*>arguments, NULL)
