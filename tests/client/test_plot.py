from client.plot import draw_plot, thin

FALLING = [(step, 1 / step) for step in range(1, 81)]


def test_a_falling_curve_starts_high_and_ends_low() -> None:
    top, *_, bottom = draw_plot({"train/loss": FALLING}, width=40, height=5).plain.split("\n")[:5]
    assert top.startswith("     1 ┤")
    assert top[8] != " "
    assert top[-1] == " "
    assert bottom[-1] != " "


def test_every_line_of_the_picture_has_the_same_width() -> None:
    lines = draw_plot({"a": FALLING, "b": FALLING[::10]}, width=40, height=5).plain.split("\n")[:5]
    assert {len(line) for line in lines} == {48}


def test_a_second_curve_is_marked_and_named() -> None:
    text = draw_plot({"train/loss": FALLING, "validation/loss": FALLING[::10]}).plain
    assert text.count("●") > 1
    assert "● validation/loss" in text


def test_one_point_and_a_flat_curve_can_be_drawn() -> None:
    assert "⡀" in draw_plot({"a": [(3, 2.0)]}).plain
    draw_plot({"a": [(1, 2.0), (2, 2.0)], "b": [(1, 2.0)]})


def test_no_points_make_no_picture() -> None:
    assert draw_plot({"a": []}).plain == "no points yet"


def test_thinning_keeps_the_last_step() -> None:
    points = thin(FALLING, 10)
    assert len(points) <= 10
    assert points[-1][0] == 80
