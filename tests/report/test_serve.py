"""The page that is served, to this machine alone."""

import contextlib
import http.client
import shutil
import threading

import pytest

from tests.helpers.pages import Page, write_run
from ultralytics.engine.run.folder import RunLock
from ultralytics.report import serve
from ultralytics.utils import events
from ultralytics.utils.errors import UserError


@contextlib.contextmanager
def opened(folder):
    with serve.open_server(folder, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, path="/", method="GET", **headers):
    connection = http.client.HTTPConnection(*server.server_address)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer, content


def test_the_page_is_renewed_when_the_run_goes_on(tmp_path):
    folder = write_run(tmp_path / "r", epochs=1, done=False, images=False)
    with RunLock(folder), opened(folder) as server:
        assert server.server_address[0] == "127.0.0.1"
        answer, first = ask(server)
        assert answer.status == 200
        page = Page(first)
        page.assert_harmless()
        assert "running, epoch 1 of 3" in page.text
        version = ask(server, "/version")[1]
        assert f'data-live="{version}"' in first
        assert ask(server)[1] == first
        row = (folder / "results.csv").read_text(encoding="utf-8").splitlines()[-1]
        with (folder / "results.csv").open("a", encoding="utf-8") as file:
            file.write(f"2{row[1:]}\n")
        assert ask(server, "/version")[1] != version
        assert "running, epoch 2 of 3" in Page(ask(server)[1]).text
    assert not (folder / "report.html").exists()


def test_nobody_else_gets_it(tmp_path):
    folder = write_run(tmp_path / "r", images=False)
    with opened(folder) as server:
        assert ask(server, Host="evil.example")[0].status == 403
        for path in ("/args.yaml", "/../r/args.yaml", "/?x", "/report.html"):
            assert ask(server, path)[0].status == 404
        assert ask(server, method="POST")[0].status == 501
        answer, _ = ask(server)
        assert answer.headers["Cache-Control"] == "no-store"
        assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        port = server.server_address[1]
        with pytest.raises(UserError, match=f"port={port} cannot be used"):
            serve.open_server(folder, port)


def test_a_run_that_is_removed_meanwhile_is_an_answer(tmp_path):
    folder = write_run(tmp_path / "r", images=False)
    with opened(folder) as server:
        shutil.rmtree(folder)
        for path in ("/", "/version"):
            answer, content = ask(server, path)
            assert answer.status == 503
            assert content == "the run cannot be read: No such file or directory"


def test_ctrl_c_ends_it_without_an_error(tmp_path, monkeypatch, caplog):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(serve.ThreadingHTTPServer, "serve_forever", interrupt)
    heard = []
    with caplog.at_level("INFO", "ultralytics"), events.heard_by(heard.append):
        serve.serve_page(write_run(tmp_path / "r", images=False), 0)
    assert "http://127.0.0.1:" in caplog.text
    assert heard[0]["event"] == "result"
    assert heard[0]["address"] in caplog.text
