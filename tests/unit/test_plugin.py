from __future__ import annotations

import subprocess
import sys

from tests.support.places import ROOT

PLUGIN = ROOT / "plugins" / "confidential_spark" / "plugin.py"


def test_airflow_registers_the_pages_and_reports_no_error(airflow_database):
    from airflow import plugins_manager

    plugins, errors = plugins_manager._get_plugins()
    ours = [plugin for plugin in plugins if plugin.name == "confidential_spark"]

    assert errors == {}
    assert len(ours) == 1
    assert [(view["name"], view["destination"]) for view in ours[0].external_views] == [
        ("Control room", "nav"),
        ("Confidential runs", "nav"),
        ("Enclave report", "dag_run"),
    ]
    assert all(not view["href"].startswith("/") for view in ours[0].external_views)


def test_loading_the_plugin_loads_no_page():
    """Every scheduler and worker process executes this file."""
    code = f"""
import sys
import airflow.plugins_manager
before = set(sys.modules)
exec(compile(open({str(PLUGIN)!r}).read(), "plugin.py", "exec"), {{"__name__": "plugin"}})
new = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(sorted(new & {{"fastapi", "starlette", "jinja2", "sqlalchemy", "pyarrow", "confidential_spark"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip().splitlines()[-1] == "[]"
