from scripts.spark_classes import LIST, class_names

DUMPED = """\
# NOTE: Do not modify this file.
java/lang/Object id: 0
b/Second$1 id: 7
a/First id: 9
a/First id: 10
a/Generated id: 11 super: 3 source: /opt/spark/jars/compiler.jar
@lambda-proxy a/First apply ()V
"""


def test_classes_are_named_once_and_in_order_without_those_of_one_run():
    assert class_names(DUMPED) == ["a/First", "b/Second$1", "java/lang/Object"]


def test_the_list_in_the_repository_is_in_order():
    names = LIST.read_text(encoding="utf-8").splitlines()

    assert names == sorted(set(names))
    assert "confidentialspark/Runner" in names
