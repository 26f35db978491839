"""What `resolve_input` says of a month of blobs: as of the same files on disk, and what an account does."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from azure.storage.blob import ContainerClient
from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.core.months import Month
from confidential_spark.hooks.blob.month import BlobMonth
from confidential_spark.hooks.results.location import result_store
from confidential_spark.jobs.input.manifest import read_manifest
from confidential_spark.jobs.nytaxi import NYTAXI
from confidential_spark.simulation.trips.month import write_month

from tests.support.azure.azurite import KEY
from tests.support.azure.blob_faults import refused, relay
from tests.support.fakes.faulty_service import FaultyService

MONTH = Month(2018, 6)
FOLDER = "yellow/puYear=2018/puMonth=6"
CONTRACT = NYTAXI.rules().input
WASBS = "wasbs://{}@devstoreaccount1.blob.core.windows.net/yellow"
STRING = (
    f"DefaultEndpointsProtocol=https;AccountName=devstoreaccount1;AccountKey={KEY};"
    "EndpointSuffix=core.windows.net"
)
NAMES = (f"preflight-{number}" for number in count())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A synthetic month in Azure's layout."""
    root = tmp_path_factory.mktemp("made")
    write_month(MONTH, 1000, root / "yellow", contract=CONTRACT)
    return root


@pytest.fixture
def tree(made, tmp_path):
    """A copy of the month, for changes; its one file has a plain name."""
    shutil.copytree(made, tmp_path / "tree")
    (found,) = (tmp_path / "tree" / FOLDER).glob("*.parquet")
    found.rename(found.with_name("part.parquet"))
    for mark in (tmp_path / "tree" / FOLDER).glob("[._]*"):
        mark.unlink()
    return tmp_path / "tree"


@pytest.fixture
def judge(upload, connect, storage):
    """Uploads a tree, and returns the manifest of a place in it."""

    def judge(tree, place="yellow", **fields):
        connect(**fields or {"password": KEY})
        container = upload(next(NAMES), tree)
        return BlobMonth(f"{storage.endpoint}/{container}/{place}").manifest(MONTH, CONTRACT)

    return judge


def outcome(manifest):
    try:
        return manifest()
    except ConfidentialSparkError as error:
        return error.code, error.message


def alike(manifest):
    """What blobs and files must have in common."""
    return replace(
        manifest, uri="", files=tuple(replace(file, sha256="", etag="") for file in manifest.files)
    )


ODD = ["a b+c%20d.parquet", "für 東京.parquet", "x=1&y;z,'~!$@().parquet"]


def test_the_manifest_is_that_of_the_same_files(judge, tree):
    for number, name in enumerate(ODD):
        write_month(Month(2018, 7 + number), 1000, tree / str(number), contract=CONTRACT)
        (found,) = (tree / str(number)).rglob("*.parquet")
        found.rename(tree / FOLDER / name)
        shutil.rmtree(tree / str(number))
    of_blobs, of_files = judge(tree), read_manifest((tree / "yellow").as_uri(), MONTH, CONTRACT)
    assert alike(of_blobs) == alike(of_files)
    assert of_blobs.uri.endswith(FOLDER)
    assert {file.sha256 for file in of_blobs.files} == {""}
    assert all(file.etag for file in of_blobs.files)
    assert sorted(blob["name"] for blob in of_blobs.summary()["blobs"]) == sorted([*ODD, "part.parquet"])


def moved(tree, name):
    (tree / FOLDER / "part.parquet").rename(tree / "yellow" / name)
    (tree / FOLDER).rmdir()


def written(name, content="{}"):
    def write(tree):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    return write


def cut(keep):
    def cut(tree):
        path = tree / FOLDER / "part.parquet"
        path.write_bytes(path.read_bytes()[:keep])

    return cut


CASES = [
    pytest.param(lambda tree: None, "yellow", id="azure"),
    pytest.param(lambda tree: None, FOLDER, id="month-itself"),
    pytest.param(lambda tree: None, "yellow/puYear={year}/puMonth={month}", id="template"),
    pytest.param(lambda tree: None, "yellow/puYear={year}/puMonth={month:03d}", id="unknown-placeholder"),
    pytest.param(lambda tree: None, "other/puYear={year}/puMonth={month}", id="template-of-nothing"),
    pytest.param(lambda tree: shutil.move(tree / FOLDER, tree / "yellow" / "x"), "yellow", id="no-month"),
    pytest.param(
        lambda tree: shutil.move(tree / FOLDER, tree / "yellow/puYear=2018/puMonth=7"),
        "yellow/puYear={year}/puMonth={month}",
        id="template-another-month",
    ),
    pytest.param(lambda tree: None, "elsewhere", id="no-folder"),
    pytest.param(lambda tree: None, "yellow/puYear=2018/puMonth=7", id="another-month"),
    pytest.param(lambda tree: moved(tree, "yellow_tripdata_2018-06.parquet"), "yellow", id="tlc"),
    pytest.param(
        lambda tree: moved(tree, "yellow_tripdata_2018-06.parquet"),
        "yellow/yellow_tripdata_2018-06.parquet",
        id="file",
    ),
    pytest.param(lambda tree: moved(tree, "yellow_tripdata_2018-07.parquet"), "yellow", id="tlc-other-month"),
    pytest.param(
        lambda tree: shutil.copy(
            tree / FOLDER / "part.parquet", tree / "yellow" / "yellow_tripdata_2018-06.parquet"
        ),
        "yellow",
        id="two-layouts",
    ),
    pytest.param(written(f"{FOLDER}/_SUCCESS"), "yellow", id="success"),
    pytest.param(written(f"{FOLDER}/notes.txt"), "yellow", id="foreign"),
    pytest.param(written(f"{FOLDER}/a:b.parquet"), "yellow", id="colon"),
    pytest.param(written(f"{FOLDER}/more/part.parquet"), "yellow", id="folder-in-it"),
    pytest.param(written("yellow/_delta_log/0.json"), "yellow", id="delta-lake"),
    pytest.param(written("_delta_log/0.json"), "yellow", id="delta-lake-above"),
    pytest.param(written("yellow/metadata/v1.metadata.json"), "yellow", id="iceberg"),
    pytest.param(written("yellow/.hoodie/hoodie.properties"), "yellow", id="hudi"),
    pytest.param(written(f"{FOLDER}/_temporary/0/x"), "yellow", id="being-written"),
    pytest.param(written("yellow/.spark-staging-1/x"), "yellow", id="staging"),
    pytest.param(written(f"{FOLDER}/_started_77"), "yellow", id="not-committed"),
    pytest.param(written(f"{FOLDER}/_committed_77", '{"removed": ["part.parquet"]}'), "yellow", id="removed"),
    pytest.param(written(f"{FOLDER}/_committed_77", '{"removed": ["x"]}'), "yellow", id="removed-is-gone"),
    pytest.param(cut(-1), "yellow", id="last-byte-lost"),
    pytest.param(cut(3), "yellow", id="three-bytes"),
    pytest.param(cut(0), "yellow", id="no-bytes"),
    pytest.param(
        written(f"{FOLDER}/part.parquet", "no Parquet at all, but long enough"), "yellow", id="text"
    ),
    pytest.param(
        lambda tree: shutil.copy(tree / FOLDER / "part.parquet", tree / FOLDER / "again.parquet"),
        "yellow",
        id="the-same-rows-twice",
    ),
]


@pytest.mark.parametrize(("change", "place"), CASES)
def test_blobs_and_files_are_judged_alike(judge, tree, change, place):
    change(tree)
    of_files = outcome(lambda: alike(read_manifest(f"{tree}/{place}", MONTH, CONTRACT)))
    assert outcome(lambda: alike(judge(tree, place))) == of_files


def test_an_error_speaks_of_blobs(judge, tree, storage):
    written(f"{FOLDER}/more/part.parquet")(tree)
    written("yellow/_delta_log/0.json")(tree)
    with pytest.raises(ConfidentialSparkError, match=rf"{storage.endpoint}/preflight-.*_delta_log"):
        judge(tree)


def test_blobs_that_stand_for_folders_are_ignored(judge, tree, storage, monkeypatch):
    create = storage.client().create_container

    class Client:
        def create_container(self, name):
            container = create(name)
            for folder in ("yellow", FOLDER, f"{FOLDER}/empty"):
                container.upload_blob(folder, b"", metadata={"hdi_isfolder": "true"})
            container.upload_blob(f"{FOLDER}/", b"")
            container.upload_blob(f"{FOLDER}/another/", b"")
            return container

    monkeypatch.setattr(type(storage), "client", lambda _: Client())
    assert [file.name for file in judge(tree).files] == ["part.parquet"]


def test_a_long_list_comes_by_pages(judge, tree, monkeypatch):
    walk, asked = ContainerClient.walk_blobs, []

    def by_twos(self, *arguments, **options):
        asked.append(arguments)
        return walk(self, *arguments, **options, results_per_page=2)

    monkeypatch.setattr(ContainerClient, "walk_blobs", by_twos)
    for number in range(5):
        written(f"{FOLDER}/_{number}")(tree)
        written(f"{FOLDER}/x{number}.txt")(tree)
    with pytest.raises(ConfidentialSparkError, match=r"\[input-foreign-file\].*x0\.txt"):
        judge(tree)
    assert asked


def test_a_month_of_too_many_blobs_is_refused_before_one_is_read(tree, judge):
    """As another tool's Spark writes a month: one small part for each of its partitions."""
    part = (tree / FOLDER / "part.parquet").read_bytes()
    for number in range(400):
        (tree / FOLDER / f"part-{number:05}.parquet").write_bytes(part[:4])
    with pytest.raises(
        ConfidentialSparkError, match=r"\[input-too-many-files\].*401 blobs.*at most 256"
    ) as told:
        judge(tree)
    assert "coalesce(8)" in told.value.action


def sas_of(sas, **what):
    return lambda container: {"extra": json.dumps({"sas_token": sas(container, **what)})}


@pytest.mark.parametrize(
    ("what", "code"),
    [
        pytest.param({"permission": "rl"}, None, id="right"),
        pytest.param({"permission": "r"}, "storage-sas-rights", id="no-list"),
        pytest.param({"permission": "l"}, "storage-sas-rights", id="no-read"),
        pytest.param({"starts": -3, "hours": -1}, "storage-sas-expired", id="expired"),
        pytest.param({"starts": 1, "hours": 2}, "storage-sas-early", id="not-yet-valid"),
    ],
)
def test_what_a_sas_token_lacks_is_told(tree, upload, connect, storage, sas, what, code):
    container = upload(next(NAMES), tree)
    token = sas(container, **what)
    connect(extra=json.dumps({"sas_token": token}))
    month = BlobMonth(f"{storage.endpoint}/{container}/yellow")
    if code is None:
        assert month.manifest(MONTH, CONTRACT).rows == 1000
        return
    with pytest.raises(ConfidentialSparkError, match=rf"\[{code}\]") as caught:
        month.manifest(MONTH, CONTRACT)
    assert token.rpartition("sig=")[2] not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "place", "code"),
    [
        pytest.param(
            {"extra": '{"sas_token": "sv=2021-12-02&sig=AAAA"}'}, "right", "storage-denied", id="forged"
        ),
        pytest.param(
            {"password": "AAAA"},
            "right",
            r"storage-denied\].*AuthorizationFailure, with an account key",
            id="wrong-key",
        ),
        pytest.param({"password": KEY}, "missing", "storage-container-missing", id="container"),
        pytest.param({"password": KEY, "kind": "http"}, "right", "storage-connection-invalid", id="type"),
        pytest.param({"password": "no base64"}, "right", "storage-denied", id="no-key"),
    ],
)
def test_what_the_account_refuses_is_told(tree, upload, connect, storage, fields, place, code):
    right = upload(next(NAMES), tree)
    connect(**fields)
    with pytest.raises(ConfidentialSparkError, match=rf"\[{code}"):
        BlobMonth(f"{storage.endpoint}/{right if place == 'right' else place}/yellow").manifest(
            MONTH, CONTRACT
        )


def test_a_container_for_anybody_needs_no_credentials(tree, upload, deploy, storage):
    container = upload(next(NAMES), tree)
    deploy(blob_emulator=storage.endpoint)
    month = BlobMonth(f"{storage.endpoint}/{container}/yellow")
    with pytest.raises(
        ConfidentialSparkError, match=r"\[storage-denied\].*without credentials: no connection is set"
    ):
        month.manifest(MONTH, CONTRACT)
    storage.client().get_container_client(container).set_container_access_policy(
        {}, public_access="container"
    )
    assert month.manifest(MONTH, CONTRACT).rows == 1000


OLD = f"{datetime.now(UTC) - timedelta(hours=2):%a, %d %b %Y %H:%M:%S} GMT"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(refused(403, "AuthenticationFailed", Date=OLD), "storage-clock-skew", id="clock"),
        pytest.param(refused(412, "ConditionNotMet"), "storage-blob-changed", id="replaced"),
        pytest.param(refused(503, "ServerBusy"), "storage-busy", id="busy"),
        pytest.param(refused(418, "Teapot"), "storage-garbage", id="no-blob-service"),
    ],
)
def test_an_account_on_a_bad_day(tree, upload, connect, deploy, storage, monkeypatch, fault, code):
    container = upload(next(NAMES), tree)
    with FaultyService(*[fault] * 4, proper=relay(storage.endpoint)) as service:
        endpoint = f"{service.url}/devstoreaccount1"
        connect(password=KEY, host=endpoint)
        deploy(blob_emulator=endpoint, blob_conn_id="trips")
        with pytest.raises(ConfidentialSparkError, match=rf"\[{code}\]") as caught:
            BlobMonth(f"{endpoint}/{container}/yellow").manifest(MONTH, CONTRACT)
    assert caught.value.retryable is (code == "storage-busy")


def test_a_key_stays_here_and_gives_each_blob_a_right_of_its_own(judge, tree, storage, connect, tmp_path):
    manifest = judge(tree)
    month = BlobMonth(manifest.uri)
    (blob,) = month.rights(manifest.summary()["blobs"], timedelta(hours=1))
    assert "sr=b" in blob["sas"].split("&")
    assert "sp=r" in blob["sas"].split("&")
    assert KEY not in json.dumps(blob)
    container = storage.client(blob["sas"]).get_container_client(month.account.location.container)
    assert container.get_blob_client(f"{FOLDER}/part.parquet").download_blob(0, 4).readall() == b"PAR1"
    with pytest.raises(Exception, match="Authori"):
        list(container.list_blob_names())
    (copied := tmp_path / "copy").mkdir()
    month.copy(manifest.summary()["blobs"], timedelta(hours=1), copied)
    assert (copied / "part.parquet").read_bytes() == (tree / FOLDER / "part.parquet").read_bytes()


DATA_LAKE = {"kind": "adls", "host": "devstoreaccount1"}


@pytest.mark.parametrize("spelling", ["abfss://{}@devstoreaccount1.dfs.core.windows.net/yellow", WASBS])
@pytest.mark.parametrize(
    "credential",
    [
        pytest.param(lambda container, sas: {"password": KEY}, id="key"),
        pytest.param(lambda container, sas: {"password": sas(container)}, id="sas"),
        pytest.param(
            lambda container, sas: {"extra": json.dumps({"connection_string": STRING})}, id="string"
        ),
    ],
)
def test_a_data_lake_connection_reads_an_account_over_its_blob_endpoint(
    tree, upload, connect, sas, spelling, credential, tmp_path
):
    """The connection names the account's `dfs` address, which nobody asks: Azurite has none."""
    container = upload(next(NAMES), tree)
    connect(**DATA_LAKE, **credential(container, sas))
    month = BlobMonth(spelling.format(container))
    manifest = month.manifest(MONTH, CONTRACT)
    assert manifest.rows == 1000
    copied = BlobMonth(manifest.uri).copy(manifest.summary()["blobs"], timedelta(hours=1), tmp_path)
    assert len(copied) == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param(
            {"host": "https://devstoreaccount1.dfs.core.windows.net", "password": KEY},
            r"storage-connection-invalid\].*adls with the account's name as host",
            id="address-for-a-name",
        ),
        pytest.param(
            {"extra": json.dumps({"sas_token": "sv=1&sig=CANARY"})},
            r"storage-connection-invalid\].*a SAS token is the password",
            id="sas-as-of-wasb",
        ),
        pytest.param({"password": "AAAA"}, r"storage-denied\].*, with an account key", id="wrong-key"),
        pytest.param(
            {"password": "sv=2021-12-02&sp=rl&sig=CANARY"},
            r"storage-denied\].*, with a SAS token",
            id="forged",
        ),
        pytest.param(
            {"host": "another", "password": KEY},
            r"storage-connection-account\].*trips: another; the address: devstoreaccount1",
            id="another-account",
        ),
        pytest.param({}, r"storage-connection-invalid\].*an identity.*without TLS", id="identity"),
    ],
)
def test_a_data_lake_connection_that_does_not_work_is_told(tree, upload, connect, fields, said):
    container = upload(next(NAMES), tree)
    connect(**DATA_LAKE | fields)
    with pytest.raises(ConfidentialSparkError, match=rf"^\[{said}") as caught:
        BlobMonth(WASBS.format(container)).manifest(MONTH, CONTRACT)
    assert not [secret for secret in (KEY, "CANARY") if secret in str(caught.value)]


def test_a_connection_that_is_not_there_is_told(deploy, storage):
    deploy(blob_emulator=storage.endpoint, blob_conn_id="absent")
    with pytest.raises(ConfidentialSparkError, match=r"storage-connection-invalid.*absent: there is no such"):
        BlobMonth(WASBS.format("trips"))


def test_credentials_go_to_their_own_account_only(connect, sas):
    connect(extra=json.dumps({"sas_token": sas("trips")}))
    own = BlobMonth("wasbs://trips@devstoreaccount1.blob.core.windows.net/yellow").account
    assert own.sas.startswith("st=")
    with pytest.raises(ConfidentialSparkError, match="storage-connection-account") as caught:
        BlobMonth("wasbs://trips@other.blob.core.windows.net/yellow")
    assert "sig=" not in str(caught.value)


@pytest.mark.parametrize(
    "reach",
    [
        pytest.param(lambda url: BlobMonth(url), id="input"),
        pytest.param(lambda url: result_store(url, "nytaxi_local"), id="results"),
    ],
)
def test_a_connection_of_another_account_is_told_before_anything_is_asked(connect, deploy, reach):
    with FaultyService() as service:
        endpoint = f"{service.url}/anotheraccount"
        connect(password=KEY, login="devstoreaccount1", host="https://devstoreaccount1.blob.core.windows.net")
        deploy(blob_emulator=endpoint, blob_conn_id="trips")
        with pytest.raises(
            ConfidentialSparkError,
            match=r"storage-connection-account\].*trips: devstoreaccount1; the address: anotheraccount",
        ):
            reach(f"{endpoint}/trips/yellow")
        assert service.requests == []
