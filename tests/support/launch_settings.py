"""What the agent lets a host set, asked by name and value."""

from confidential_spark.agent.launch.allowed_settings import spark_setting_form


def allowed_spark_setting(name: str, value: str) -> bool:
    """Return whether the host may give this Spark setting this value."""
    form = spark_setting_form(name)
    return form is not None and form.fullmatch(value) is not None
