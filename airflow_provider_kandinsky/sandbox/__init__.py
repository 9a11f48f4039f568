"""A local stand-in for Segmind: the same API, without a key and without a bill.

For the demo, this package's tests and tests of your own DAGs. Start it with
``python -m airflow_provider_kandinsky.sandbox``, with
:func:`~airflow_provider_kandinsky.sandbox.server.running_sandbox`, or with the pytest fixture
``kandinsky_sandbox``. Needs the extra ``sandbox``; this file imports nothing, so that the pytest plugin loads without
it.
"""
