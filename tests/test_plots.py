import matplotlib as mpl
import matplotlib.pyplot as plt

from happyllm_support import plots


def luminance(color):
    red, green, blue = mpl.colors.to_rgb(color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_lines_differ_in_colour_and_marker_on_a_light_card():
    with mpl.rc_context():
        plots.use_style()
        figure, axes = plt.subplots()
        lines = [axes.plot([0, 1], [0, i])[0] for i in range(len(plots.PALETTE))]
        plots.label_line(axes, 1, 2, "two")
        assert len({(line.get_color(), line.get_marker()) for line in lines}) == len(
            lines
        )
        assert luminance(figure.get_facecolor()) > 0.95
        assert [t.get_text() for t in axes.texts] == ["two"]
        plt.close(figure)
