"""The server through its HTTP port: answers, limits, the key, what it says and does not say."""

from __future__ import annotations

import json
import shutil
import socket
import sys

import pytest
from doors import run
from fastapi.openapi.models import OpenAPI
from serving import FAILS, serving

from smstune.data.prepared import load_split
from smstune.inference.classifier import SmsClassifier

URGENT = "【云禾银行】您的账户存在异常，请登录 http://yh-app.example/k2p 核实"
ORIGIN = "https://shop.example"
KEY = "钥匙 of the test"


@pytest.fixture(scope="module")
def decided_run(learned_run, tmp_path_factory):
    """Return the learned run with an operating point to decide by."""
    path = tmp_path_factory.mktemp("served") / "run"
    shutil.copytree(learned_run, path)
    budget = "max_false_positive_rate: 0.9, confidence: 0.4"
    point = f"evaluation.operating_points={{stop: {{labels: [fraud, illegal], {budget}}}}}"
    assert run("eval", path, "--calibrate", point) == 0
    return path


@pytest.fixture(scope="module")
def served(decided_run, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("open"), decided_run) as found:
        yield found


@pytest.fixture(scope="module")
def guarded(learned_run, tmp_path_factory):
    """Serve to everybody who has the key, with small limits and one other origin."""
    limits = ("max_messages=3", "max_characters=20", "max_body_bytes=1024")
    arguments = [f"serve.{limit}" for limit in limits]
    arguments += [f"serve.cors_origins=[{ORIGIN}]", "--host", "0.0.0.0"]
    folder = tmp_path_factory.mktemp("guarded")
    with serving(folder, learned_run, *arguments, SMSTUNE_API_KEY=f"{KEY}\n") as found:
        found.client.base_url = found.address.replace("0.0.0.0", "127.0.0.1")
        yield found


def with_key(**more):
    return {"X-API-Key": KEY.encode(), **more}


def problem(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"expected", "found", "what_to_do"}
    return response.json()


def test_answers_are_those_of_predict(served, decided_run, prepared):
    texts = [*load_split(prepared, "test")["text"], URGENT, " "]
    classifier = SmsClassifier.from_pretrained(decided_run, device="cpu", precision="fp32")
    expected = classifier.predict(texts)
    many = served.client.post("/v1/classify", json={"texts": texts}).json()["answers"]
    one = served.client.post("/v1/classify", json={"text": URGENT}).json()["answers"]
    assert len(many) == len(texts)
    for answer, wanted, text in zip(
        [*many, *one], [*expected, expected[-2]], [*texts, URGENT], strict=True
    ):
        assert answer["label"] == wanted.label
        assert answer["score"] == pytest.approx(wanted.score, abs=1e-5)
        assert answer["scores"] == pytest.approx(wanted.scores, abs=1e-5)
        assert (answer["decision"], answer["note"]) == (wanted.decision, wanted.note)
        assert [answer["text"]] == classifier.preprocess([text])
    assert {answer["label"] for answer in many} == set(classifier.labels.names)
    assert {"block", "pass"} <= {answer["decision"] for answer in many}
    assert "[URL]" in one[0]["text"]


def test_half_a_character_is_left_out(served):
    body, headers = b'{"text": "\\ud800\\u60a8\\u597d"}', {"Content-Type": "application/json"}
    found = served.client.post("/v1/classify", content=body, headers=headers).json()["answers"]
    assert found[0]["text"] == "您好"


def test_an_explanation_adds_up(served):
    found = served.client.post("/v1/explain", json={"text": URGENT}).json()
    answer = served.client.post("/v1/classify", json={"text": URGENT}).json()["answers"][0]
    assert found["label"] == answer["label"]
    assert found["score"] == pytest.approx(answer["score"], abs=1e-4)
    assert "".join(piece["text"] for piece in found["pieces"]) == answer["text"]
    total = sum(piece["score"] or 0 for piece in found["pieces"])
    assert total == pytest.approx(found["log_odds"] - found["baseline"], rel=0.05, abs=0.05)


@pytest.mark.parametrize(
    ("body", "expected", "found"),
    [
        (b'{"texts": [', "a body of JSON", "invalid JSON at character 11"),
        (b"", "either text or texts", "no body"),
        (b"[1]", "either text or texts", "a body of the type list"),
        (b"{}", "either text or texts", "both of them or neither"),
        (b'{"text": "a", "texts": ["b"]}', "either text or texts", "both of them or neither"),
        (b'{"texts": ["a", 7]}', "either text or texts", "texts.1 of the type int"),
        (b'{"text": "a", "Text": "b"}', "either text or texts", "the unknown key Text"),
        (b'{"texts": []}', "1 to 256 messages", "0"),
        (b"[" * 100_000, "knows", "parsing the body"),
    ],
)
def test_useless_bodies_get_an_explanation(served, body, expected, found):
    headers = {"Content-Type": "application/json"}
    response = served.client.post("/v1/classify", content=body, headers=headers)
    told = problem(response, 400 if body[:2] == b"[[" else 422)
    assert expected in told["expected"]
    assert found in told["found"]


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("de, zh-TW;q=0.3", "zh"),
        ("zh;q=0, en;q=0.1", "en"),
        ("zh;q=much", "en"),
    ],
)
def test_answers_are_in_the_language_of_the_request(served, accepted, language):
    headers = {"Accept-Language": accepted}
    answer = served.client.post("/v1/classify", json={"text": ""}, headers=headers)
    assert answer.json()["answers"][0]["note"] == {"en": "empty message", "zh": "空短信"}[language]
    refused = served.client.post("/v1/classify", json={"texts": []}, headers=headers)
    expected = {"en": "1 to 256 messages", "zh": "1 到 256 条短信"}[language]
    assert problem(refused, 422)["expected"] == expected
    page = served.client.get("/", headers=headers)
    assert {"en": "Messages, one per line", "zh": "短信，每行一条"}[language] in page.text
    assert f'<html lang="{ {"en": "en", "zh": "zh-CN"}[language] }">' in page.text
    for response in (answer, refused, page):
        assert response.headers["content-language"] == language
        assert "Accept-Language" in response.headers["vary"]


def test_what_is_not_there(served):
    assert "GET /docs" in problem(served.client.get("/docs"), 404)["found"]
    assert problem(served.client.get("/v1/classify"), 405)
    assert served.client.get("/v1/classify").headers["allow"] == "POST"


def test_health_metrics_and_openapi(served):
    assert served.client.get("/healthz").status_code == 200
    assert served.client.get("/readyz").text == "ready\n"
    before = served.metric("smstune_messages_total")
    served.client.post("/v1/classify", json={"texts": ["一", "二", "三"]})
    assert served.metric("smstune_messages_total") == before + 3
    assert served.metric('smstune_requests_total{path="/v1/classify",status="200"}') > 0
    assert served.metric('smstune_request_seconds_count{path="/v1/classify"}') > 0
    assert served.metric("smstune_batch_messages_count") > 0
    assert served.metric("smstune_queue_messages ") == 0
    assert served.metric("process_resident_memory_bytes") > 1e7
    rejected = served.metric('smstune_rejected_total{reason="invalid"}')
    served.client.post("/v1/classify", json={})
    assert served.metric('smstune_rejected_total{reason="invalid"}') == rejected + 1
    document = served.client.get("/openapi.json").json()
    OpenAPI.model_validate(document)
    assert set(document["paths"]) == {
        *("/v1/classify", "/v1/explain", "/healthz", "/readyz", "/metrics")
    }


def test_answers_are_counted(served, decided_run):
    texts = [URGENT, "全场五折，回T退订", URGENT]
    lines = [line.rpartition(" ")[0] for line in served.client.get("/metrics").text.splitlines()]
    before = {line: served.metric(f"{line} ") for line in lines if not line.startswith("#")}
    answers = served.client.post("/v1/classify", json={"texts": texts}).json()["answers"]

    def added(line):
        return served.metric(f"{line} ") - before[line]

    labels = SmsClassifier.from_pretrained(decided_run).labels.names
    for metric, key, names in (
        ("smstune_labels_total", "label", labels),
        ("smstune_decisions_total", "decision", ("block", "review", "pass")),
    ):
        # All are there from the start, and no other ever comes.
        expected = {f'{metric}{{{key}="{name}"}}' for name in names}
        assert {line for line in before if line.startswith(metric)} == expected
        for name in names:
            n_answers = sum(answer[key] == name for answer in answers)
            assert added(f'{metric}{{{key}="{name}"}}') == n_answers
    scores = [answer["score"] for answer in answers]
    assert added("smstune_score_sum") == pytest.approx(sum(scores))
    low = sum(score <= 0.5 for score in scores)
    assert added('smstune_score_bucket{le="0.5"}') == low
    assert added('smstune_score_bucket{le="1.0"}') == len(texts)


def test_the_metrics_say_which_model_answers(served, decided_run):
    text = served.client.get("/metrics").text
    (info,) = [line for line in text.splitlines() if line.startswith("smstune_model_info{")]
    weights = json.loads((decided_run / "manifest.json").read_text("utf-8"))["sha256"]
    assert f'run="{decided_run.name}"' in info
    assert f'weights="{weights["model.safetensors"][:12]}"' in info
    assert 'backend="torch"' in info
    assert 'precision="fp32"' in info
    assert info.endswith("} 1.0")


def test_no_message_in_any_log(served):
    """Send a mark by every way in: none but the answers may have it."""
    mark = "独一无二的记号"
    headers = {"Content-Type": "application/json"}
    post = served.client.post
    assert mark in post("/v1/classify", json={"text": mark}).text
    assert post("/v1/explain", json={"text": mark}).status_code == 200
    for body in (f'{{"texts": ["{mark}"', f'{{"texts": [["{mark}"]]}}', f'{{"{mark}": 1}}'):
        problem(post("/v1/classify", content=body.encode(), headers=headers), 422)
    for path in (f"/healthz?text={mark}", f"/{mark}", f"/v1/classify?text={mark}"):
        served.client.get(path)
    served.client.get("/healthz", headers={"X-API-Key": mark.encode()})
    told = problem(post("/v1/classify", json={"texts": [FAILS, mark]}), 500)
    assert "log" in told["what_to_do"]
    assert "ValueError" in served.said
    assert "no answer to 1 requests" in served.said
    for hidden in (mark, FAILS, ascii(mark)[1:-1], mark.encode().hex()):
        assert hidden not in served.said
        assert hidden not in served.client.get("/metrics").text
    assert "%E7%8B%AC" not in served.said
    # The model's failure was one request's.
    assert post("/v1/classify", json={"text": mark}).status_code == 200


def test_limits(guarded):
    post = guarded.client.post
    told = problem(post("/v1/classify", json={"texts": ["a"] * 4}, headers=with_key()), 422)
    assert (told["expected"], told["found"]) == ("1 to 3 messages", "4")
    long = {"texts": ["a", "长" * 21]}
    told = problem(post("/v1/classify", json=long, headers=with_key()), 422)
    assert told["found"] == "21 in message 1, counted from 0"
    assert problem(post("/v1/explain", json={"text": "长" * 21}, headers=with_key()), 422)
    just = json.dumps({"text": "a"}).encode().ljust(1024)
    kind = {"Content-Type": "application/json"}
    for content in (just, iter([just])):
        response = post("/v1/classify", content=content, headers=with_key(**kind))
        assert response.status_code == 200
    for content in (just + b" ", iter([just, b" "])):
        told = problem(post("/v1/classify", content=content, headers=with_key(**kind)), 413)
        assert told["expected"] == "a body of at most 1024 bytes"


def test_a_large_body_is_refused_before_it_is_sent(guarded):
    host, port = guarded.client.base_url.host, guarded.client.base_url.port
    with socket.create_connection((host, port), timeout=10) as connection:
        head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1025\r\nX-API-Key: "
        connection.sendall(head + KEY.encode() + b"\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_key(guarded):
    post = guarded.client.post
    body = {"text": "您好"}
    for headers in ({}, {"X-API-Key": "x"}, {"Authorization": "Bearer x"}, {"Authorization": "x"}):
        response = post("/v1/classify", json=body, headers=headers)
        assert "Bearer KEY" in problem(response, 401)["what_to_do"]
        assert response.headers["www-authenticate"] == "Bearer"
    # Whoever has no key learns nothing of what is wrong with the body.
    problem(post("/v1/classify", content=b"{"), 401)
    problem(post("/v1/explain", json=body), 401)
    problem(guarded.client.get("/metrics"), 401)
    for headers in (with_key(), {"Authorization": b"bearer " + KEY.encode()}):
        assert post("/v1/classify", json=body, headers=headers).status_code == 200
    for path in ("/", "/page.js", "/page.css", "/healthz", "/readyz"):
        assert guarded.client.get(path).status_code == 200
    assert 'type="password"' in guarded.client.get("/").text
    document = guarded.client.get("/openapi.json").json()
    assert len(document["paths"]["/v1/classify"]["post"]["security"]) == 2
    assert KEY not in guarded.said


@pytest.mark.parametrize(("origin", "allowed"), [(ORIGIN, True), ("https://evil.example", False)])
def test_other_origins(guarded, served, origin, allowed):
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-api-key",
    }
    header = "access-control-allow-origin"
    preflight = guarded.client.options("/v1/classify", headers=asked)
    assert (preflight.status_code == 200) is allowed
    # Errors, too, must be readable by the page that asked.
    refused = guarded.client.post("/v1/classify", headers={"Origin": origin})
    for response in (preflight, refused):
        assert response.headers.get(header) == (origin if allowed else None)
    assert header not in served.client.get("/healthz", headers={"Origin": ORIGIN}).headers


def test_page_asks_for_nothing_from_outside(served):
    page = served.client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert 'type="password"' not in page.text
    for path in ("/", "/page.js", "/page.css"):
        text = served.client.get(path).text
        assert "//" not in text.replace("// Texts", "")
        assert "innerHTML" not in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], "SMSTUNE_API_KEY"),
        (["--host", "::"], "SMSTUNE_API_KEY"),
        (["--host", "nowhere.invalid"], "choose another with --host"),
        (["--port", "70000"], "choose another with --host and --port"),
        (["--port", "0", "serve.max_message=2"], "did you mean serve.max_messages"),
        (
            ["--port", "0", "serve.queue_messages=100"],
            "queue_messages must be at least max_messages",
        ),
        (["--port", "0", "training.seed=1"], "nothing else of a finished run"),
    ],
)
def test_useless_calls_end_with_status_2(learned_run, monkeypatch, capsys, arguments, told):
    monkeypatch.setenv("SMSTUNE_API_KEY", " ")
    assert run("serve", learned_run, *arguments) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_without_its_configuration(learned_run, tmp_path, capsys):
    published = tmp_path / "published"
    shutil.copytree(learned_run, published)
    (published / "config.yaml").unlink()
    assert run("serve", published, "--port", "0", "serve.max_messages=0") == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "serve.max_messages: input should be greater than or equal to 1, found 0" in told


def test_a_port_in_use(learned_run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run("serve", learned_run, "--port", taken.getsockname()[1]) == 2
    assert "in use" in capsys.readouterr().err


def test_without_the_extra(learned_run, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "smstune.deploy.server.serve", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run("serve", learned_run) == 2
    assert (
        "the server needs the package uvicorn: in a checkout run pip install -c constraints.txt "
        "-e '.[serve]'" in capsys.readouterr().err
    )
