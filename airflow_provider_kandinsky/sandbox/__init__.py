"""A local stand-in for Segmind: the same wire, no key, no bill.

For the demo, for this package's tests and for tests of your own DAGs. Start it with
``python -m airflow_provider_kandinsky.sandbox``, with
:func:`~airflow_provider_kandinsky.sandbox.server.running_sandbox`, or by asking for the pytest fixture
``kandinsky_sandbox``. Needs the extra ``sandbox``; this file imports nothing, so that the pytest plugin loads without
it.
"""
