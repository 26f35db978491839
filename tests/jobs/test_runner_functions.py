"""Each function of the runner's list, called once: a name whose result were refused would help nobody."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.spark
T = "TIMESTAMP '2018-05-01 08:30:15'"
D = "DATE '2018-05-01'"
PLAIN = f"""
abs(-1)|acos(1)|asin(1)|atan(1)|atan2(1, 2)|bround(2.5)|cbrt(8)|ceil(1.5)|ceiling(1.5)|cos(1)|degrees(1)
e()|exp(1)|expm1(1)|floor(1.5)|hypot(3, 4)|ln(2)|log(2)|log10(2)|log1p(2)|log2(2)|mod(7, 3)|pi()
pmod(-7, 3)|pow(2, 3)|power(2, 3)|radians(1)|round(2.5)|sign(1)|signum(1)|sin(1)|sqrt(4)|tan(1)
width_bucket(5.3, 0.2, 10.6, 5)|try_add(1, 1)|try_divide(1, 0)|try_multiply(2, 2)|try_subtract(1, 1)
coalesce(NULL, 1)|greatest(1, 2)|if(true, 1, 2)|ifnull(NULL, 1)|isnan(1D)|isnotnull(1)|isnull(1)
least(1, 2)|nanvl(1D, 2D)|not(true)|nullif(1, 2)|nvl(NULL, 1)|nvl2(NULL, 1, 2)|bigint('1')
boolean('true')|date('2018-05-01')|decimal(1)|double('1')|float('1')|int('1')|smallint('1')|string(1)
timestamp('2018-05-01')|tinyint('1')|btrim(' a ')|char_length('a')|character_length('a')|concat('a', 'b')
concat_ws(',', 'a', 'b')|contains('ab', 'b')|endswith('ab', 'b')|initcap('ab')|instr('ab', 'b')
lcase('A')|left('ab', 1)|len('ab')|length('ab')|like('ab', 'a%')|locate('b', 'ab')|lower('A')
lpad('1', 2, '0')|ltrim(' a')|position('b' IN 'ab')|regexp_extract('a1', '([0-9])', 1)
regexp_like('a', 'a')|regexp_replace('a1', '[0-9]', '')|replace('a', 'a', 'b')|reverse('ab')
right('ab', 1)|rlike('a', 'a')|rpad('1', 2, '0')|rtrim('a ')|sha2('a', 256)|split_part('a,b', ',', 1)
startswith('ab', 'a')|substr('abc', 1, 1)|substring('abc' FROM 1 FOR 2)|substring_index('a.b', '.', 1)
translate('a', 'a', 'b')|trim(' a ')|ucase('a')|upper('a')|trim(BOTH 'x' FROM 'xax')|add_months({D}, 1)
date_add({D}, 1)|date_diff({D}, {D})|date_format({D}, 'yyyy')|date_from_unix_date(1)
date_part('year', {D})|date_sub({D}, 1)|date_trunc('hour', {T})|datediff({D}, {D})|datepart('year', {D})
day({D})|dayofmonth({D})|dayofweek({D})|dayofyear({D})|extract(HOUR FROM {T})|extract(SECOND FROM {T})
from_unixtime(1)|hour({T})|last_day({D})|make_date(2018, 5, 1)|minute({T})|month({D})
months_between({D}, {D})|next_day({D}, 'MO')|quarter({D})|second({T})|timestamp_micros(1)
timestamp_millis(1)|timestamp_seconds(1)|to_date('2018-05', 'yyyy-MM')|to_timestamp('2018-05-01')
to_unix_timestamp({T})|trunc({D}, 'MM')|unix_date({D})|unix_micros({T})|unix_millis({T})
unix_seconds({T})|unix_timestamp('2018-05', 'yyyy-MM')|weekday({D})|weekofyear({D})|year({D})|array(1)[0]
array_contains(array(1), 1)|element_at(array(1), 1)|named_struct('a', 1).a|size(sequence(1, 3))
struct(1).col1|typeof(1)
"""
AGGREGATES = """
any(true)|approx_count_distinct(1)|avg(1)|bool_and(true)|bool_or(true)|corr(1, 2)|count(*)|count_if(true)
covar_pop(1, 2)|covar_samp(1, 2)|every(true)|max(1)|mean(1)|median(1)|min(1)|percentile(1, 0.5)
some(true)|std(1)|stddev(1)|stddev_pop(1)|stddev_samp(1)|sum(1)|try_avg(1)|try_sum(1)|var_pop(1)
var_samp(1)|variance(1)
"""
WINDOWS = """
cume_dist()|dense_rank()|first_value(1)|lag(1)|last_value(1)|lead(1, 1, 0)|nth_value(1, 1)|ntile(2)
percent_rank()|rank()|row_number()
"""
GENERATORS = "explode(array(1))|explode_outer(array(1))|posexplode(array(1))|posexplode_outer(array(1))"
GROUPED = """
SELECT grouping(x), grouping_id(), count(*) FROM VALUES (1) AS t(x) GROUP BY cube(x)
SELECT count(*) FROM VALUES (1) AS t(x) GROUP BY rollup(x)
"""
OPERATORS = f"""
7 DIV 2|7 % 2|7 / 2|-(1)|+1|1 & 2|1 ^ 2|~1|'a' || 'b'|1 BETWEEN 0 AND 2|1 IN (1, 2)|1 <=> NULL
1 IS NOT DISTINCT FROM 2|true AND NOT false OR false|CASE 1 WHEN 1 THEN 2 END|CAST(1 AS STRING)
try_cast('a' AS INT)|'a' LIKE ANY ('a', 'b')|'a' ILIKE 'A'|'a' NOT RLIKE 'b'|{D} + INTERVAL 1 DAY
{D} - INTERVAL 1 MONTH|{T} + INTERVAL 1 HOUR|{T} - INTERVAL '1' MONTH|{D} + 1|{D} - {D} = INTERVAL 1 DAY
{T} - {T} > INTERVAL 1 HOUR|extract(DAY FROM {T} - {T})|timestampdiff(HOUR, {T}, {T})
timestampadd(HOUR, 1, {T})|dateadd(DAY, 1, {D})|1 > (SELECT 2)|EXISTS (SELECT 1)
"""


def calls(text: str) -> list[str]:
    # `||` is an operator; a single bar separates.
    lines = filter(None, text.splitlines())
    return [call for line in lines for call in re.split(r"(?<!\|)\|(?!\|)", line)]


SELECTS = [
    *(f"SELECT {call} AS x" for call in calls(PLAIN + AGGREGATES + OPERATORS)),
    *(f"SELECT {call} OVER (ORDER BY 1) AS x" for call in calls(WINDOWS)),
    *(f"SELECT {call}" for call in calls(GENERATORS)),
    *GROUPED.strip().splitlines(),
]


@pytest.mark.parametrize("sql", SELECTS)
def test_what_the_list_names_is_accepted(runner_calls, sql):
    query = {"name": "q", "sql": sql, "max_rows": 1}
    runner_calls.accept({"v": 1, "job": "test", "queries": [query]})


def test_every_function_of_the_list_is_called_here(runner_calls):
    listed = set(runner_calls.runner.AllowedNodes.Functions().mkString(" ").split())
    called = set(re.findall(r"[a-z_0-9]+(?=\()", " ".join(SELECTS)))

    assert listed - called == set()
