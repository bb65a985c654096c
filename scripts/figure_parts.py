"""What the figures of figures.py are made of: panels of a fixed size, titles, legends, colour bars."""
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from figure_text import shortened, shown, width_of, wrapped
from step_axis import draw_line

SMALL = 7  # points

# --- layout: all sizes in inches, so that a hundred small panels come out as readable as two ---
#
# An Axes of matplotlib costs some 20 ms. Where there is a panel per head they are therefore not Axes: a row of panels
# is one Axes, in which panel p covers x = p (1 + gap) .. p (1 + gap) + 1 (class Strip), or all of them are pictures in
# one Axes (class Mosaic).

def grid(rows, columns, width, height, *, left=.8, right=.3, top=.25, bottom=.6, gap=(.12, .12), least=5.2, **shared):
    """A Figure with rows x columns axes of width x height, `gap` (across, down) apart. head() comes next: it makes the
    room for title and legend."""
    across = columns * width + (columns - 1) * gap[0]
    right = max(right, least - left - across)
    total = (left + across + right, top + rows * height + (rows - 1) * gap[1] + bottom)
    figure = Figure(figsize=total)
    axes = figure.subplots(rows, columns, squeeze=False, **shared)
    figure.subplots_adjust(left / total[0], bottom / total[1], 1 - right / total[0], 1 - top / total[1],
                           gap[0] / width, gap[1] / height)
    for axis in axes.flat:
        axis.tick_params(labelsize=SMALL)
    return figure, axes


def place(figure, x, y):
    """A place in the figure: inches from the left (from the right if negative) and from the bottom (the top)."""
    width, height = figure.get_size_inches()
    return x / width if x >= 0 else 1 + x / width, y / height if y >= 0 else 1 + y / height


def head(figure, log, text, step, note="", handles=()):
    """Above the panels: what is shown; of which run, seed and step (or steps); a legend of `handles`. Lines that are
    too long for the figure are broken, and the figure grows by what all of it takes. `log` may be a text that says
    whose figure it is."""
    whose = log if isinstance(log, str) else f"run {shown(log.settings()['name'])}, seed {log.seed}"
    when = f", step {step}" if np.ndim(step) == 0 else f", steps {step[0]} to {step[-1]}"
    width, height = figure.get_size_inches()
    titles = wrapped(shown(text), 11, width - .3, "bold")
    which = wrapped(f"{whose}{when}{note and '   ' + note}", 8.5, width - .3)
    columns = legend_columns([handle.get_label() for handle in handles], width - .3)
    below = .1 + .22 * len(titles) + .16 * len(which)  # where the legend begins
    above = below + .07 + .175 * (-(-len(handles) // columns) if handles else 0)
    sides = figure.subplotpars
    figure.set_size_inches(width, height + above)
    figure.subplots_adjust(bottom=sides.bottom * height / (height + above), top=sides.top * height / (height + above))
    for index, title in enumerate(titles):
        figure.text(*place(figure, .15, -.1 - .22 * index), title, va="top", fontsize=11, fontweight="bold")
    for index, line in enumerate(which):
        at = place(figure, .15, -.1 - .22 * len(titles) - .16 * index)
        figure.text(*at, line, va="top", fontsize=8.5, color="#444444")
    if handles:
        legend(figure, handles, loc="upper left", bbox_to_anchor=place(figure, .08, -below), ncol=columns,
               handlelength=1.6, columnspacing=1.2, borderpad=.2, labelspacing=.3, widest=width - .6)


def legend_columns(labels, width):
    """As many columns as fit into `width` inches; entries go down a column first."""
    widths = [width_of(shown(label), 8) + (1.6 + .8 + 1.2) * 8 / 72 for label in labels]
    for columns in range(len(labels), 1, -1):
        rows = -(-len(labels) // columns)
        if sum(max(widths[at:at + rows]) for at in range(0, len(labels), rows)) <= width:
            return -(-len(labels) // rows)
    return 1


def legend(where, handles, widest=3, **layout):
    """A legend of a figure or an axis. Labels that begin with "_", which matplotlib leaves out, are shown, too."""
    labels = [shortened(shown(handle.get_label()), 8, widest) for handle in handles]
    made = where.legend(handles, ["x"] * len(handles), frameon=False, fontsize=8, **layout)
    for text, label in zip(made.get_texts(), labels):
        text.set_text(label)


def name_axes(figure, x="", y=""):
    figure.text(*place(figure, figure.get_size_inches()[0] * figure.subplotpars.left, .1), x, va="bottom", fontsize=9)
    tall = figure.get_size_inches()[1]
    centre = tall * (figure.subplotpars.bottom + figure.subplotpars.top) / 2
    y = shortened(y, 9, 2 * min(centre, tall - centre))
    figure.text(*place(figure, .1, centre), y, rotation=90, va="center", fontsize=9)


def name_row(axis, name, y=.5):
    """Its name to the right of a row of panels."""
    axis.annotate(name, (1, y), (4, 0), xycoords="axes fraction", textcoords="offset points", rotation=270,
                  va="center", fontsize=8)


def colour_bar(figure, mappable, label, null=None):
    """To the right of all panels, in 1.2 inches left for it; the null's mean is marked."""
    width, height = figure.get_size_inches()
    tall = min((figure.subplotpars.top - figure.subplotpars.bottom) * height, 3)
    axis = figure.add_axes([1 - .95 / width, figure.subplotpars.top - tall / height, .12 / width, tall / height])
    figure.colorbar(mappable, cax=axis).ax.tick_params(labelsize=SMALL)
    axis.set_ylabel(shortened(label, 8, tall + .4), fontsize=8)
    if null is not None:
        axis.axhline(null, color="black", linewidth=1)
        axis.annotate("null", (0, null), (-3, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="right", va="center", fontsize=SMALL)
    return axis


class Strip:
    """A row of `count` panels in one Axes. `gap`: between two, in widths of a panel."""

    def __init__(self, axis, count, gap, names=()):
        self.axis, self.count, self.pitch = axis, count, 1 + gap
        axis.set_xlim(0, count * self.pitch - gap)
        corners = [[(left, 0), (left, 1), (left + 1, 1), (left + 1, 0)] for left in np.arange(count) * self.pitch]
        axis.add_collection(PolyCollection(corners, transform=axis.get_xaxis_transform(), facecolor="#f1f1f1",
                                           zorder=0), autolim=False)
        axis.spines[:].set_visible(False)
        axis.set_xticks([])
        for panel, name in enumerate(names):
            axis.annotate(name, (panel * self.pitch + .5, 1), (0, 3), xycoords=("data", "axes fraction"),
                          textcoords="offset points", ha="center", fontsize=8)

    def line(self, x, y, colour, style="-", label=None):
        """One line in every panel: x [points] in 0 .. 1, y [points, panel]."""
        across = np.append(x, np.nan)[:, None] + np.arange(self.count) * self.pitch
        values = np.concatenate([y, np.full((1, self.count), np.nan)])
        draw_line(self.axis, across.T.ravel(), values.T.ravel(), color=colour, linestyle=style, linewidth=.9,
                  label=label)

    def pictures(self, values, bottom, top, **look):
        """values [panel, up, across]; `bottom` and `top`: where they reach on the y axis."""
        for panel, of_panel in enumerate(values):
            picture(self.axis, of_panel, (panel * self.pitch, panel * self.pitch + 1, bottom, top), origin="lower",
                    **look)
        return self.axis.images[-1]

    def ticks(self, at, labels):
        """The same in every panel, `at` in 0 .. 1; of those near the right end, where the next panel begins, only an
        only one."""
        at, labels = np.asarray(at, float), [str(label) for label in labels]
        kept = [index for index in range(len(at)) if at[index] < .85 or self.count == 1 or len(at) == 1]
        self.axis.set_xticks([panel * self.pitch + at[index] for panel in range(self.count) for index in kept],
                             [labels[index] for index in kept] * self.count)


class Mosaic:
    """Pictures [rows, columns] in one Axes. Cell (i, j) of panel (r, c) is at x = c pitch + j, y = r pitch + i."""

    def __init__(self, axis, rows, columns, size, gap):
        """`size`: cells of a panel, across and down; `gap`: cells between two."""
        self.axis, self.rows, self.columns, self.size, self.pitch = axis, rows, columns, size, size + gap
        axis.set_xlim(-.5, columns * self.pitch - gap - .5)
        axis.set_ylim(rows * self.pitch - gap - .5, -.5)
        axis.spines[:].set_visible(False)

    def picture(self, row, column, values, **look):
        x, y = column * self.pitch - .5, row * self.pitch - .5
        return picture(self.axis, values, (x, x + self.size, y + self.size, y), origin="upper", **look)

    def names(self, columns, rows):
        whole = self.axis.get_position().width * self.axis.figure.get_size_inches()[0]
        widest = whole * self.size / (self.columns * self.pitch - self.pitch + self.size)
        for index, name in enumerate(columns):
            self.axis.annotate(shortened(name, 8, widest), (index * self.pitch + self.size / 2 - .5, 1), (0, 3),
                               ha="center", fontsize=8, xycoords=("data", "axes fraction"), textcoords="offset points")
        for index, name in enumerate(rows):
            y = (index * self.pitch + self.size / 2) / (self.rows * self.pitch - self.pitch + self.size)
            name_row(self.axis, name, 1 - y)

    def ticks(self, cells, labels=None):
        """The same in every panel, on both axes."""
        labels = [str(label) for label in (cells if labels is None else labels)]
        for set_ticks, panels in ((self.axis.set_xticks, self.columns), (self.axis.set_yticks, self.rows)):
            set_ticks([panel * self.pitch + cell for panel in range(panels) for cell in cells], labels * panels)


class Cells(AxesImage):
    """A picture on linear axes, with sharp cells. AxesImage looks up a colour for every pixel, and scales values and
    mask in passes of their own: 2.3 ms for an attention map, 5.5 ms for the overlap of 16 heads. Here cells are
    coloured and their colours repeated: 0.7 and 1.0 ms."""

    def make_image(self, renderer, magnification=1., unsampled=False):
        left, right, low, high = self.get_extent()
        first, last = (low, high) if self.origin == "lower" else (high, low)  # of the rows of cells
        corners = self.axes.transData.transform([(left, first), (right, last)]) * magnification
        (x0, y0), (x1, y1) = np.rint(corners).astype(int).tolist()
        if x0 == x1 or y0 == y1:
            return None, 0, 0, None
        # Rows of pixels go upwards. A colour is taken as one number, which numpy copies faster than four.
        colours = self.to_rgba(self.get_array(), bytes=True)[::-1 if y1 < y0 else 1, ::-1 if x1 < x0 else 1]
        packed = np.ascontiguousarray(colours).view(np.uint32)[..., 0]
        rows, columns = ((2 * np.arange(size) + 1) * cells // (2 * size)
                         for size, cells in zip((abs(y1 - y0), abs(x1 - x0)), packed.shape))
        pixels = packed[:, columns][rows].view(np.uint8).reshape(len(rows), len(columns), 4)
        return pixels, min(x0, x1) / magnification, min(y0, y1) / magnification, None


def picture(axis, values, extent, **look):
    """As axis.imshow(), which sets the axis's limits and aspect anew each time."""
    made = Cells(axis, extent=extent, **look)
    made.set_data(values)
    made.set_clip_path(axis.patch)
    axis.add_image(made)
    return made


def ticks_of_cells(count, most=4):
    return [int(tick) for tick in MaxNLocator(most, integer=True).tick_values(0, count - 1) if 0 <= tick < count]


def logarithmic(axis, low, high):
    """The y axis, from a little below `low` to a little above `high`; ticks are written out: 0.01, 1e-05."""
    axis.set_yscale("log")
    axis.set_ylim(low / 1.5, high * 1.5)
    axis.minorticks_off()
    if high < 50 * low:
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 8 * low else (1, 3)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def sample_line(label, colour, style="-", **look):
    """For a legend."""
    return Line2D([], [], color=colour, linestyle=style, label=label, **look)


def head_names(layers, heads):
    return [f"{layer}.{head}" for layer in range(layers) for head in range(heads)]
