"""What is wrong with a built site is found without a browser."""

from docs.builder import browse, browser, check

SOUND = '<html><head><link href="a.css"></head><body id="top"><a href="b.html#there">b</a></body></html>'


def site(tmp_path, **pages):
    (tmp_path / "searchindex.js").write_text("conv_transpose")
    (tmp_path / "a.css").write_text("p { color: red }")
    for name, text in pages.items():
        (tmp_path / f"{name}.html").write_text(text)
    return tmp_path


def test_a_sound_site(tmp_path):
    assert check.faults(site(tmp_path, a=SOUND, b='<p id="there">')) == []


def test_each_fault_is_a_sentence(tmp_path):
    bad = (
        '<a href="lost.html">x</a><a href="#nowhere">x</a><script src="https://cdn.example/x.js"></script>'
        '<img src="lost.png"><a href="https://example.org">fine</a><a href="mailto:a@example.org">fine</a>'
    )
    root = site(tmp_path, a=bad)
    (root / "b.css").write_text("@import 'https://fonts.example/x';")
    (root / "searchindex.js").write_text("")
    assert check.faults(root) == [
        "a.html: loads https://cdn.example/x.js from elsewhere",
        "a.html: lost.html leads nowhere",
        "a.html: #nowhere leads to no such place on the page",
        "a.html: lost.png leads nowhere",
        "b.css: loads https://fonts.example/x from elsewhere",
        "searchindex.js: conv_transpose can't be found",
    ]


def test_without_a_site_or_a_browser_a_sentence_says_what_to_do(tmp_path, monkeypatch, capsys):
    assert browse.main([str(tmp_path)]) == 1
    assert "there is no site here; make docs builds it" in capsys.readouterr().err
    site(tmp_path, index=SOUND)
    monkeypatch.setattr(browser, "find", lambda: None)
    assert browse.main([str(tmp_path)]) == 1
    assert "install Chromium or Chrome" in capsys.readouterr().err


def test_the_browser_that_is_named_comes_first(tmp_path, monkeypatch):
    named = tmp_path / "mine"
    named.write_text("")
    named.chmod(0o755)
    monkeypatch.setenv("CHROMIUM", str(named))
    assert browser.find() == str(named)
    monkeypatch.delenv("CHROMIUM")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser.find() is None
