"""SQL that tries to be more than a query, case by case, and the SQL that jobs may write."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.runner_jvm import Refused

pytestmark = pytest.mark.spark
REFLECT = "reflect('java.lang.System', 'getProperty', 'user.home')"
TRIPS = "SELECT * FROM VALUES (1, 'a'), (2, 'b'), (2, NULL) AS t(x, s)"


def asks(sql: str, parameters: dict[str, Any] | None = None, **views: str) -> dict[str, Any]:
    """Return a request; REFLECT stands for a call of Java, and `trips` is there."""
    return {
        "v": 1,
        "job": "test",
        "parameters": parameters or {},
        "views": [
            {"name": name, "sql": text.replace("REFLECT", REFLECT)}
            for name, text in ({"trips": TRIPS} | views).items()
        ],
        "queries": [{"name": "found", "sql": sql.replace("REFLECT", REFLECT), "max_rows": 10}],
    }


COMMANDS = {
    "drop": "DROP TABLE trips",
    "set": "SET spark.sql.runSQLOnFiles=true",
    "reset": "RESET",
    "add-jar": "ADD JAR '/tmp/x.jar'",
    "list-jars": "LIST JARS",
    "shell": "DFS -ls /",
    "explain": "EXPLAIN SELECT 1",
    "describe": "DESCRIBE trips",
    "show": "SHOW TABLES",
    "use": "USE other",
    "temporary-view": "CREATE TEMPORARY VIEW v AS SELECT 1",
    "function": "CREATE FUNCTION f AS 'x.Y' USING JAR '/x.jar'",
    "temporary-function": "CREATE OR REPLACE TEMPORARY FUNCTION f AS 'java.lang.Runtime'",
    "create-as": "CREATE TABLE t USING parquet AS SELECT 1",
    "create-over-file": "CREATE TABLE t (x INT) USING csv OPTIONS (path '/etc/passwd')",
    "insert": "INSERT INTO trips SELECT 1",
    "insert-below-with": "WITH a AS (SELECT 1) INSERT INTO trips SELECT * FROM a",
    "multi-insert": "FROM (SELECT 1 x) INSERT INTO a SELECT x INSERT INTO b SELECT x",
    "insert-directory": "INSERT OVERWRITE DIRECTORY '/tmp/x' USING parquet SELECT 1",
    "insert-local-directory": "INSERT OVERWRITE LOCAL DIRECTORY '/tmp/x' SELECT 1",
    "load": "LOAD DATA INPATH '/x' INTO TABLE t",
    "cache": "CACHE TABLE t AS SELECT 1",
    "refresh": "REFRESH TABLE t",
    "analyze": "ANALYZE TABLE t COMPUTE STATISTICS",
    "truncate": "TRUNCATE TABLE t",
    "delete": "DELETE FROM t",
    "update": "UPDATE t SET x = 1",
    "merge": "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE",
    "alter": "ALTER TABLE t ADD COLUMNS (x INT)",
    "two-statements": "SELECT 1; SELECT 2",
    "hidden-command": "SELECT 1 /* ; */; DROP TABLE trips",
}
JAVA = {
    "java-method": "SELECT java_method('java.lang.Runtime', 'getRuntime')",
    "reflect": "SELECT REFLECT",
    "try-reflect": "SELECT try_reflect('java.lang.System', 'getenv', 'HOME')",
    "upper-case": "SELECT Java_Method('java.lang.System', 'exit', 1)",
    "quoted": "SELECT `reflect`('a', 'b')",
    "qualified": "SELECT system.builtin.REFLECT",
    "half-qualified": "SELECT builtin.REFLECT",
    "named-by-text": "SELECT IDENTIFIER('refl' || 'ect')('a', 'b')",
    "inline-table": "SELECT * FROM VALUES (REFLECT) AS t(x)",
    "limit": "SELECT 1 LIMIT length(REFLECT)",
    "where": "SELECT 1 WHERE REFLECT IS NULL",
    "join": "SELECT 1 FROM trips JOIN (VALUES (1)) AS u(y) ON REFLECT = s",
    "group-by": "SELECT 1 AS x GROUP BY REFLECT",
    "having": "SELECT count(*) FROM trips HAVING REFLECT IS NULL",
    "order-by": "SELECT 1 ORDER BY REFLECT",
    "case": "SELECT CASE WHEN REFLECT IS NULL THEN 1 END",
    "exists": "SELECT 1 WHERE EXISTS (SELECT REFLECT)",
    "scalar-subquery": "SELECT (SELECT max(REFLECT))",
    "in-subquery": "SELECT 1 WHERE 'a' IN (SELECT REFLECT)",
    "unused-with": "WITH a AS (SELECT REFLECT) SELECT 1",
    "unused-window": "SELECT 1 FROM trips WINDOW w AS (PARTITION BY REFLECT)",
    "window": "SELECT sum(x) OVER w FROM trips WINDOW w AS (PARTITION BY REFLECT)",
    "aggregate-filter": "SELECT sum(x) FILTER (WHERE REFLECT IS NULL) FROM trips",
    "lateral-view": "SELECT e FROM trips LATERAL VIEW explode(array(REFLECT)) AS e",
    "table-function": "SELECT * FROM range(length(REFLECT))",
    "union": "SELECT 'a' UNION ALL SELECT REFLECT",
}
PROGRAMS = {
    "transform": "SELECT TRANSFORM(x) USING 'cat' AS (y) FROM trips",
    "map": "FROM trips MAP x USING 'cat' AS y",
    "reduce": "FROM (FROM trips REDUCE x USING '/bin/sh -c id' AS y) AS q SELECT y",
}
TABLES = {
    "parquet-file": "SELECT * FROM parquet.`/etc/passwd`",
    "text-file": "SELECT * FROM text.`file:///etc/passwd`",
    "binary-file": "SELECT * FROM binaryFile.`/etc`",
    "quoted-format": "SELECT * FROM `csv`.`/etc/passwd`",
    "jdbc": "SELECT * FROM jdbc.`jdbc:derby:memory:x`",
    "bare-path": "SELECT * FROM `/etc/passwd`",
    "named-by-text": "SELECT * FROM IDENTIFIER('parquet.`/etc`')",
    "named-by-parameter": "SELECT * FROM IDENTIFIER(:text)",
    "database": "SELECT * FROM default.trips",
    "global-view": "SELECT * FROM global_temp.trips",
    "catalog": "SELECT * FROM spark_catalog.default.trips",
    "unknown": "SELECT * FROM nothing",
    "version": "SELECT * FROM trips VERSION AS OF 1",
    "sample": "SELECT * FROM trips TABLESAMPLE (10 PERCENT)",
    "stream": "SELECT * FROM STREAM(trips)",
    "sql-keywords": "SELECT * FROM sql_keywords()",
    "explode": "SELECT * FROM explode(array(1))",
}
VARIABLES = {
    "environment": "SELECT ${env:HOME}",
    "system": "SELECT * FROM ${system:user.home}",
    "setting": "SELECT ${spark.sql.shuffle.partitions}",
    "positional": "SELECT ?",
    "unknown-parameter": "SELECT :nothing",
    "declare": "DECLARE VARIABLE x INT",
    "set-variable": "SET VAR x = 1",
    "execute-immediate": "EXECUTE IMMEDIATE 'SELECT 1'",
}
# What would give another result for the same input, or tell something of the machine.
FUNCTIONS = (
    *("rand()", "uuid()", "shuffle(array(1))", "monotonically_increasing_id()", "spark_partition_id()"),
    *(
        "now()",
        "current_timestamp",
        "current_date",
        "localtimestamp()",
        "unix_timestamp()",
        "current_timezone()",
    ),
    *("current_user()", "current_database()", "current_catalog()", "version()", "input_file_name()"),
    *(
        "xpath_string('<a/>', 'a')",
        "from_json('{}', 'a INT')",
        "from_csv('1', 'a INT')",
        "parse_url('a', 'HOST')",
    ),
    *("raise_error('x')", "collect_list(1)", "transform(array(1), x -> x)", "aes_encrypt('a', 'b')"),
)
SHAPES = {
    "empty": "",
    "comment": "-- nothing",
    "half": "SELECT",
    "array": "SELECT array(1) AS x",
    "struct": "SELECT struct(1) AS x",
    "interval": "SELECT INTERVAL 1 DAY AS x",
    "binary": "SELECT x'41' AS x",
    "same-name-twice": "SELECT 1 AS x, 2 AS x",
    "hint": "SELECT /*+ broadcast(trips) */ x FROM trips",
    "pivot": "SELECT * FROM trips PIVOT (sum(x) FOR s IN ('a'))",
    "lateral": "SELECT * FROM trips, LATERAL (SELECT x)",
}
DEEP = 20_000
DOUBLED = "SELECT l.x FROM a{0} AS l, a{0} AS r"
SIZES = {
    "long": "SELECT '" + "x" * 65_536 + "'",
    "brackets": "SELECT " + "(" * 200 + "1" + ")" * 200,
    "subqueries": "SELECT * FROM (" * 200 + "SELECT 1" + ")" * 200,
    "sums": "SELECT " + "+".join("1" * DEEP),
    "signs": "SELECT " + "- " * DEEP + "1",
    "negations": "SELECT " + "NOT " * (DEEP // 2) + "true",
    "cases": "SELECT " + "CASE WHEN true THEN " * 1_500 + "1" + " END" * 1_500,
    "unions": " UNION ALL ".join(["SELECT 1"] * 2_000),
    "list": "SELECT 1 WHERE 1 IN (" + ",".join(map(str, range(12_000))) + ")" + " OR 1 = 1" * 1_000,
    "doubling-with": "WITH {} TABLE a40".format(
        ", ".join(["a0 AS (SELECT 1 AS x)", *(f"a{n + 1} AS ({DOUBLED.format(n)})" for n in range(40))])
    ),
}
ALL = COMMANDS, JAVA, PROGRAMS, TABLES, VARIABLES, SHAPES, SIZES
CASES = [
    *(pytest.param(sql, id=name) for cases in ALL for name, sql in cases.items()),
    *(pytest.param(f"SELECT {call}", id=call.split("(")[0]) for call in FUNCTIONS),
]


@pytest.mark.parametrize("sql", CASES)
def test_what_is_more_than_a_query_is_refused(runner_calls, sql):
    refused = runner_calls.refuse(asks(sql, {"text": "a"}))

    assert (refused.exit, refused.code) == (65, "job-not-a-query")


@pytest.mark.parametrize("sql", [pytest.param(sql, id=name) for name, sql in (JAVA | PROGRAMS).items()])
def test_a_view_is_judged_like_a_query(runner_calls, sql):
    assert runner_calls.refuse(asks("SELECT 1", view=sql)).code == "job-not-a-query"


def test_views_that_double_each_other_are_refused_before_spark_copies_them(runner_calls):
    views = {f"a{n + 1}": DOUBLED.format(n) for n in range(30)}
    refused = runner_calls.refuse(asks("SELECT x FROM a30", a0="SELECT 1 AS x", **views))

    assert (refused.code, refused.got) == ("job-not-a-query", "more")


ACCEPTED = {
    "values": ("SELECT x, count(s) AS n FROM trips GROUP BY x ORDER BY x", [(1, 1), (2, 1)]),
    "with": (
        "WITH a AS (SELECT 1 AS x), b AS (SELECT x FROM a) SELECT x FROM b UNION ALL TABLE a",
        [(1,), (1,)],
    ),
    "join": ("SELECT a.x FROM trips JOIN (VALUES (1)) AS a(x) ON trips.x = a.x", [(1,)]),
    "subqueries": ("SELECT max(x) FROM trips WHERE x IN (SELECT 2) AND EXISTS (SELECT 1)", [(2,)]),
    "having": ("SELECT x FROM trips GROUP BY x HAVING count(*) > 1", [(2,)]),
    "window": (
        "SELECT sum(x) OVER w FROM trips WINDOW w AS (ORDER BY x ROWS 1 PRECEDING)",
        [(1,), (3,), (4,)],
    ),
    "rank": ("SELECT x, row_number() OVER (ORDER BY x, s) FROM trips LIMIT 1", [(1, 1)]),
    "filter": ("SELECT count(*) FILTER (WHERE x = 2), count_if(s IS NULL) FROM trips", [(2, 1)]),
    "rollup": (
        "SELECT x, grouping(x), count(*) FROM trips GROUP BY ROLLUP (x) ORDER BY 3",
        [(1, 0, 1), (2, 0, 2), (None, 1, 3)],
    ),
    "case": ("SELECT CASE WHEN 1 > 2 THEN 'a' ELSE 'b' END, coalesce(NULL, 3)", [("b", 3)]),
    "range": ("SELECT count(*), sum(id) FROM range(0, :rows, 1, :tasks)", [(10, 45)]),
    "days": (
        "SELECT explode(sequence(DATE '2018-05-30', DATE '2018-05-31')) AS d",
        [("2018-05-30",), ("2018-05-31",)],
    ),
    "lateral-view": (
        "SELECT e FROM trips LATERAL VIEW explode(array(x, 9)) AS e WHERE x = 1",
        [(1,), (9,)],
    ),
    "text": (
        "SELECT lower(trim(' Cash ')), startswith('cash', 'ca'), try_cast('x' AS INT)",
        [("cash", True, None)],
    ),
    "month": ("SELECT unix_seconds(to_timestamp(concat(:month, '-01')))", [(1_525_132_800,)]),
    "parameters": ("SELECT :month, :tasks, :share, :yes", [("2018-05", 2, 0.5, True)]),
    "text-stays-text": ("SELECT :attack, '${env:HOME}'", [("1' OR reflect('a') --", "${env:HOME}")]),
    "nothing": ("SELECT 1 WHERE false", []),
}
PARAMETERS = {
    "rows": 10, "tasks": 2, "month": "2018-05", "share": 0.5, "yes": True, "attack": "1' OR reflect('a') --"
}  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "expected"), [pytest.param(*case, id=name) for name, case in ACCEPTED.items()]
)
def test_queries_are_answered(runner_calls, sql, expected):
    assert [tuple(row.values()) for row in runner_calls.rows(asks(sql, PARAMETERS))] == expected


def test_views_take_parameters_and_build_on_each_other(runner_calls):
    request = asks(
        "SELECT sum(y) AS s FROM b",
        {"factor": 10},
        a="SELECT x * :factor AS y FROM trips",
        b="SELECT y FROM a WHERE y > :factor",
    )
    assert runner_calls.rows(request) == [{"s": 40}]


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        pytest.param("9223372036854775807", 2**63 - 1, id="bigint"),
        pytest.param("CAST(-128 AS TINYINT)", -128, id="tinyint"),
        pytest.param("CAST(0.1 AS FLOAT)", 0.10000000149011612, id="float"),
        pytest.param("1e300D", 1e300, id="double"),
        pytest.param("-0.0D", -0.0, id="minus-zero"),
        pytest.param("CAST('1.50' AS DECIMAL(38, 2))", "1.50", id="decimal"),
        pytest.param("CAST(1e-7 AS DECIMAL(38, 10))", "0.0000001000", id="small-decimal"),
        pytest.param("TIMESTAMP '2018-05-01 12:00:00.5'", "2018-05-01T12:00:00.500000Z", id="timestamp"),
        pytest.param("TIMESTAMP_NTZ '1900-01-01 00:00:00'", "1900-01-01T00:00:00.000000", id="timestamp-ntz"),
        pytest.param("DATE '2018-05-01'", "2018-05-01", id="date"),
        pytest.param("'\"\n\\\u2028é😀'", '"\n\u2028é😀', id="text"),
        pytest.param("NULL", None, id="null"),
    ],
)
def test_values_survive_json(runner_calls, sql, value):
    ((found,),) = [row.values() for row in runner_calls.rows(asks(f"SELECT {sql} AS value"))]

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        pytest.param("SELECT CAST('NaN' AS DOUBLE) AS x", "row-not-finite", id="nan"),
        pytest.param("SELECT CAST('Infinity' AS DOUBLE) AS x", "row-not-finite", id="infinity"),
        pytest.param("SELECT CAST('-Infinity' AS FLOAT) AS x", "row-not-finite", id="float-infinity"),
        pytest.param("SELECT id FROM range(11)", "rows-too-many", id="eleven-of-ten"),
        pytest.param("SELECT id FROM range(1000000) ORDER BY id", "rows-too-many", id="far-too-many"),
    ],
)
def test_results_that_cannot_be_used_are_refused(runner_calls, sql, code):
    with pytest.raises(Refused) as raised:
        runner_calls.rows(asks(sql))

    assert (raised.value.exit, raised.value.code) == (80, code)


def test_ten_rows_of_ten_are_no_fault(runner_calls):
    assert len(runner_calls.rows(asks("SELECT id FROM range(10)"))) == 10


def changed(**members: Any) -> bytes:
    return json.dumps(
        {name: value for name, value in (asks("SELECT 1") | members).items() if value is not ...}
    ).encode()


def one_query(**members: Any) -> bytes:
    return changed(queries=[{"name": "a", "sql": "SELECT 1", "max_rows": 1} | members])


VALID = changed()
MALFORMED = {
    "nothing": b"",
    "space": b" \n",
    "garbage": b"Traceback (most recent call last):",
    "null": b"null",
    "array": b"[]",
    "text-before": b"hello " + VALID,
    "two-requests": VALID + VALID,
    "text-after": VALID + b"\nbye",
    "nan": b'{"v": NaN}',
    "comment": b"/* */" + VALID,
    "key-twice": VALID[:-1] + b', "job": "other"}',
    "inner-key-twice": VALID.replace(b'"parameters": {}', b'"parameters": {"x": 1, "x": 2}'),
    "no-utf-8": VALID.replace(b"SELECT", b"SEL\xff"),
    "utf-16": VALID.decode().encode("utf-16"),
    "too-large": VALID + b" " * 1024 * 1024,
    "deep": b"[" * 100_000,
    "unknown-member": changed(more=1),
    "no-job": changed(job=...),
    "no-queries": changed(queries=...),
    "version-2": changed(v=2),
    "version-text": changed(v="1"),
    "job-name": changed(job="../x"),
    "queries-object": changed(queries={}),
    "no-query": changed(queries=[]),
    "many-queries": changed(queries=[{"name": f"q{n}", "sql": "SELECT 1", "max_rows": 1} for n in range(33)]),
    "query-name": one_query(name="../x"),
    "query-member": one_query(more=1),
    "sql-number": one_query(sql=1),
    "max-rows-zero": one_query(max_rows=0),
    "max-rows-text": one_query(max_rows="1"),
    "max-rows-huge": one_query(max_rows=10**7),
    "max-rows-missing": changed(queries=[{"name": "a", "sql": "SELECT 1"}]),
    "name-twice": changed(queries=[{"name": "a", "sql": "SELECT 1", "max_rows": 1}] * 2),
    "view-like-query": changed(views=[{"name": "found", "sql": "SELECT 1"}]),
    "two-inputs": changed(input={"a": {"x": ["int"]}, "b": {"x": ["int"]}}),
    "no-column": changed(input={"a": {}}),
    "no-type": changed(input={"a": {"x": []}}),
    "unknown-type": changed(input={"a": {"x": ["array<int>"]}}),
    "column-name": changed(input={"a": {"x`y": ["int"]}}),
    "no-version": changed(input={"a": []}),
    "version-no-object": changed(input={"a": ["x"]}),
    "version-name": changed(input={"a": [{"name": "A b", "columns": {"x": {"types": ["int"]}}}]}),
    "version-unnamed": changed(input={"a": [{"columns": {"x": {"types": ["int"]}}}]}),
    "version-twice": changed(input={"a": [{"name": "v", "columns": {"x": {"types": ["int"]}}}] * 2}),
    "version-of-nothing": changed(input={"a": [{"name": "v", "columns": {}}]}),
    "source-member": changed(input={"a": [{"name": "v", "columns": {"x": {"types": ["int"], "sql": "1"}}}]}),
    "source-name": changed(input={"a": [{"name": "v", "columns": {"x": {"types": ["int"], "from": "x`"}}}]}),
    "source-untyped": changed(input={"a": [{"name": "v", "columns": {"x": {"from": "x"}}}]}),
    "no-mark": changed(input={"a": [{"name": "v", "columns": {"x": {"types": ["int"]}}, "one_of": []}]}),
    "versions-differ": changed(
        input={"a": [{"name": c, "columns": {c: {"types": ["int"]}}} for c in ("x", "y")]}
    ),
}  # fmt: skip


@pytest.mark.parametrize("raw", [pytest.param(raw, id=name) for name, raw in MALFORMED.items()])
def test_a_malformed_request_is_refused(runner_calls, raw):
    refused = runner_calls.refuse(raw)

    assert (refused.exit, refused.code) == (65, "request-invalid")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="null"),
        pytest.param([1], id="array"),
        pytest.param({"a": 1}, id="object"),
        pytest.param(2**63, id="too-large"),
    ],
)
def test_a_parameter_without_a_type_of_sql_is_refused(runner_calls, value):
    refused = runner_calls.refuse(asks("SELECT :x", {"x": value}))

    assert (refused.exit, refused.code) == (65, "argument-invalid")


def test_a_parameter_beyond_the_doubles_is_refused(runner_calls):
    refused = runner_calls.refuse(changed(parameters={"x": 0.5}).replace(b"0.5", b"1e999"))

    assert refused.code == "argument-invalid"
