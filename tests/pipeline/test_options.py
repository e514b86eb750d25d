"""Options: defaults are the embedded run, and each bad one is refused in one line that shows it and the way out."""

import os
import pathlib
import pickle

import pytest

from dealmail.io.database import DatabaseSpec
from dealmail.io.environment import VARIABLES
from dealmail.pipeline.machine_checks import require_tools
from dealmail.pipeline.options import JobOptions, OptionError, make_parser, parse
from dealmail.pipeline.runner_options import check_runner_options


def refused(*argv):
    with pytest.raises(OptionError) as caught:
        parse(argv)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_without_options_everything_is_embedded():
    options, rest = parse([])
    assert (options.database.url, options.search, options.runner, rest) == (
        "sqlite:///dealmail.db",
        "",
        "DirectRunner",
        [],
    )
    assert options.is_local
    assert options == JobOptions()


def test_other_engines_read_gmail_on_several_workers():
    away = [
        "--runner=DataflowRunner", "--database=mysql+pymysql://u@h/d", "--search=https://h:9200", "--token_key=env:K",
        "--subscription=projects/demo-project/subscriptions/mail",
    ]  # fmt: skip
    assert [parse(argv)[0].graph.fetch_shards for argv in ([], away, [*away, "--fetch_shards=3"])] == [1, 16, 3]


def test_a_password_in_the_url_leaves_the_options_and_stays_usable(monkeypatch):
    monkeypatch.setenv("DEALMAIL_PASSWORD_IN_DATABASE_URL", "before")
    named = {"DEALMAIL_DATABASE_PASSWORD": "env:OTHER"}
    options, _ = parse(["--database=mysql+pymysql://dealmail:s3cr3t@db/crm", "--search=https://es:9200"], named)
    assert "s3cr3t" not in repr(options)
    assert b"s3cr3t" not in pickle.dumps(options)
    assert options.database.password_ref == "env:DEALMAIL_PASSWORD_IN_DATABASE_URL"
    assert os.environ["DEALMAIL_PASSWORD_IN_DATABASE_URL"] == "s3cr3t"


def test_what_is_not_typed_is_taken_from_the_environment():
    environ = {
        "DEALMAIL_DATABASE": "mysql+pymysql://u@db/d", "DEALMAIL_DATABASE_PASSWORD": "env:DB_PASSWORD",
        "DEALMAIL_SEARCH": "https://es:9200", "DEALMAIL_SEARCH_PASSWORD": "file:es.key", "DEALMAIL_SEARCH_INDEX": "mail",
        "DEALMAIL_SEARCH_CA_CERTS": "ca.pem", "DEALMAIL_TOKEN_KEY": "env:KEY", "DEALMAIL_OAUTH_CLIENT": "file:client.json", "DEALMAIL_GMAIL_ENDPOINT": "http://gmail:1",
    }  # fmt: skip
    assert set(environ) == set(VARIABLES.values())
    options, _ = parse([], environ)
    assert options == JobOptions(
        database=DatabaseSpec("mysql+pymysql://u@db/d", "env:DB_PASSWORD"), search="https://es:9200", search_password="file:es.key",
        search_index="mail", search_ca_certs="ca.pem", token_key="env:KEY", oauth_client="file:client.json", gmail_endpoint="http://gmail:1",
    )  # fmt: skip
    typed, _ = parse(["--database=sqlite:///typed.db", "--search_index=typed"], environ)
    assert (typed.database.url, typed.search_index, typed.token_key) == ("sqlite:///typed.db", "typed", "env:KEY")
    assert parse([], dict.fromkeys(environ, ""))[0] == JobOptions()


@pytest.mark.parametrize("option", ["database_password", "search_password", "token_key", "oauth_client"])
@pytest.mark.parametrize("secret", ["hunter2", "hunter2:x", "kms:hunter2"])
def test_a_secret_where_its_name_belongs_is_refused_and_not_shown(option, secret):
    for argv, environ in (([f"--{option}={secret}"], {}), ([], {VARIABLES[option]: secret})):
        with pytest.raises(OptionError, match=f"--{option} names no secret") as caught:
            parse(argv, environ)
        assert "hunter2" not in str(caught.value)
        assert "hunter2" not in repr(caught.value.__context__)


@pytest.mark.parametrize(
    "option",
    ["--database=mysql+pymysql://u@h/d?password=hunter2", "--database=mysql+pymysql://u@h/d?charset=utf8mb4&passwd=hunter2",
     "--database=mysql+pymysql://u@h/d?ssl_key_password=hunter2", "--database=mysql+pymysql//u:hunter2@h/d", "--search=htps://u:hunter2@h:9200",
     "--search=u:hun:hunter2@h:9200", "--search=https://h:9200?api_key=hunter2", "--search=https://u:hunter2@h:9200"],
)  # fmt: skip
@pytest.mark.parametrize("runner", ["DirectRunner", "DataflowRunner"])
def test_a_password_in_a_url_is_refused_and_not_shown(option, runner):
    rest = ["--database=mysql+pymysql://u@h/d", "--search=https://h:9200", f"--runner={runner}", "--token_key=env:K",
            "--subscription=projects/demo-project/subscriptions/mail"]  # fmt: skip
    with pytest.raises(OptionError) as caught:
        parse([*rest, option], {})
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.__context__)


def test_a_database_is_asked_by_tls_where_its_url_says_so():
    options, _ = parse(["--database=mysql+pymysql://u@h/d?ssl_ca=/etc/db.pem", "--search=https://h:9200"], {})
    assert options.database.url.endswith("?ssl_ca=/etc/db.pem")


@pytest.mark.parametrize(
    "option",
    [
        "--database=mysql+pymysql//u:hunter2@h/d", "--database=u:hunter2@h/d", "--database=mysql+pymysql://u@h:hunter2/d",
        "--database=mysql+pymysql://u@h/d?password=hunter2", "--database=mysql+pymysql://u@h/d?passwd=hunter2",
        "--search=https:/u:hunter2@es", "--search=u:hunter2@es:9200", "--search=https://es:9200?api_key=hunter2",
        "--gmail_endpoint=ftp://u:hunter2@g", "--gmail_endpoint=https://u:hunter2@g", "--gmail_endpoint=https://hunter2@g",
        "--database-password=hunter2", "--runner=FlinkRunner --flink_password=hunter2",
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_used_does_not_show_the_secret_in_it(option):
    given = ["--database=mysql+pymysql://u@h/d", "--search=https://es:9200"]
    given += ["--token_key=env:K", "--subscription=projects/demo-project/subscriptions/mail", *option.split()]
    with pytest.raises(OptionError) as caught:
        check_runner_options(*parse(given))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql+pymysql://u@h:hunter2/d", "mysql+pymysql://u@h/d?ssl_key_password=hunter2"])
def test_neither_does_the_consoles_word_for_it(url):
    with pytest.raises(ValueError, match="the database URL") as caught:
        DatabaseSpec(url)
    assert "hunter2" not in str(caught.value)


def test_a_key_that_a_kms_wrapped_is_a_name_too():
    assert parse(["--token_key=kms:projects/p/key:file:wrapped"])[0].token_key == "kms:projects/p/key:file:wrapped"


def test_the_page_about_running_names_every_variable():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "running.md").read_text(encoding="utf-8")
    assert [name for name in VARIABLES.values() if name not in page] == []


def test_help_shows_no_value_of_the_environment(monkeypatch):
    monkeypatch.setenv("DEALMAIL_DATABASE", "mysql+pymysql://u:s3cr3t@db/d")
    text = make_parser().format_help()
    assert "s3cr3t" not in text
    assert all(name in text for name in VARIABLES.values())


@pytest.mark.parametrize(
    ("argv", "shows"),
    [
        (["--database=postgresql://x/y"], "postgresql"),
        (["--database=nonsense"], "--database=nonsense"),
        (["--database=mysql+pymysql://u@h/d"], "--search is missing"),
        (["--search=ftp://x"], "--search=ftp://x"),
        (["--search=https://u:p@h:9200"], "--search_password"),
        (["--subscription=projects/x/sub"], "--subscription=projects/x/sub"),
        (["--topic=projects/demo-project/topics"], "--topic="),
        (["--poll_minutes=0"], "--poll_minutes=0"),
        (["--settle_batch=0"], "settle_batch is 0"),
        (["--quota_get=0"], "quota get=0"),
        (["--quota_mailbox_minute=133"], "--quota_mailbox_minute=133: use 134 or more"),
        (["--quota_project_minute=500", "--quota_get=100"], "--quota_project_minute=500: use 634 or more"),
        (["--no_such_option"], "--no_such_option"),
        (["--runner=FlinkRunner"], "mysql+pymysql"),
        (["--runner=DataflowRunner", "--database=mysql+pymysql://u@h/d", "--search=https://h:9200"], "--subscription"),
        (["--runner=DataflowRunner", "--database=mysql+pymysql://u:p@h/d", "--search=https://h:9200"], "--database_password"),
        (
            ["--runner=DataflowRunner", "--database=mysql+pymysql://u@h/d", "--search=https://h:9200", "--once",
             "--subscription=projects/demo-project/subscriptions/mail", "--token_key=env:K"],
            "--once",
        ),
    ],
)  # fmt: skip
def test_bad_options_are_refused_in_one_line(argv, shows):
    assert shows in refused(*argv)


def test_options_of_beams_runners_are_passed_on():
    _, rest = parse(
        ["--runner=DataflowRunner", "--database=mysql+pymysql://u@h/d", "--search=https://h:9200", "--token_key=env:K",
         "--subscription=projects/demo-project/subscriptions/mail", "--region=europe-west1"]
    )  # fmt: skip
    assert rest == ["--region=europe-west1"]


def test_a_missing_folder_is_noticed_before_anything_starts(tmp_path):
    options, _ = parse([f"--database=sqlite:///{tmp_path}/nowhere/dealmail.db"])
    with pytest.raises(OptionError, match="nowhere"):
        require_tools(options)


def test_help_explains_every_option_and_names_the_groups():
    text = make_parser().format_help()
    assert [action.dest for action in make_parser()._actions if not action.help] == []
    for group in ("stores:", "Gmail and sign-in:", "push notifications:", "engine:", "Gmail's quota"):
        assert group in text
    for option in ("--database", "--search", "--subscription", "--runner", "--once", "--quota_get"):
        assert option in text
