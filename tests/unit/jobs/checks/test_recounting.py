from confidential_spark.jobs.checks.recounting import recounting


def test_a_recount_draws_no_progress_into_a_log() -> None:
    with recounting() as connection:
        (setting,) = connection.execute("SELECT current_setting('enable_progress_bar')").fetchone() or ()
    assert setting is False
