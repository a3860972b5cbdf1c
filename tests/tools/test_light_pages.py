"""What is left out of style sheets."""

from light_pages import purged


def test_rules_stay_if_a_page_may_need_them():
    sheet = """@charset "utf-8"; a, .gone > b, .here:hover { color: red } #gone { top: 0 } .here:not(.gone) { top: 1px }
    @media (min-width: 3em) { .gone { top: 2px } .sm\\:here { top: 3px } } @media print { .gone { top: 4px } }
    @font-face { font-family: "Font Awesome 6"; src: url(x) } .here:is(.gone, .other) { top: 5px }"""
    text = purged(sheet, {"a", "b", "here", "sm:here"})
    for kept in ("a,.here:hover{color: red}", ".here:not(.gone){top: 1px}", "top: 3px", "top: 5px", "@charset"):
        assert kept in text
    for dropped in ("#gone", ".gone >", "top: 2px", "print", "Awesome"):
        assert dropped not in text
