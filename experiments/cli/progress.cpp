#include "experiments/cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "experiments/cli/output.h"
#include "experiments/cli/text_lines.h"

namespace headscope::experiments::cli {

namespace {

bool on_terminal(std::FILE* stream) {
    const char* kind = std::getenv("TERM");
    return isatty(fileno(stream)) != 0 && kind != nullptr && std::string_view(kind) != "dumb";
}

struct TerminalSize {
    int columns, lines;
};

TerminalSize size_of(std::FILE* stream) {
    winsize size{};
    if (ioctl(fileno(stream), TIOCGWINSZ, &size) != 0) size = {};
    return {size.ws_col > 0 ? size.ws_col : 80, size.ws_row > 0 ? size.ws_row : 24};
}

/// "-" where no target was scored.
std::string loss_text(double loss) { return std::isnan(loss) ? "-" : fmt::format("{:.4f}", loss); }

/// "950", "84.1k", "1.3M"
std::string short_count(double count) {
    if (count < 1e3) return fmt::format("{:.0f}", count);
    if (count < 1e6) return fmt::format("{:.1f}k", count / 1e3);
    return fmt::format("{:.1f}M", count / 1e6);
}

}  // namespace

std::string format_seconds(double seconds) {
    if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e9) return "-";
    const auto whole = static_cast<std::int64_t>(std::lround(seconds));
    if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
    return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string progress_bar(const Progress& progress, int width) {
    const double done =
        progress.steps > 0 ? static_cast<double>(progress.step) / static_cast<double>(progress.steps) : 1.0;
    std::string line = fmt::format("{}/{}", progress.step, progress.steps);
    const std::string pieces[] = {fmt::format("  loss {}", loss_text(progress.loss)),
                                  fmt::format("  {} left", format_seconds(progress.seconds_left)),
                                  fmt::format("  {} tokens/s", short_count(progress.tokens_per_second))};
    const auto room = static_cast<std::size_t>(std::max(width, 0));
    std::size_t wanted = line.size();
    for (const std::string& piece : pieces) wanted += piece.size();
    constexpr std::size_t frame = 4, shortest = 8, longest = 40;  // "  [" and "]"
    if (wanted + frame + shortest <= room) {
        const std::size_t length = std::min(room - wanted - frame, longest);
        const auto filled = static_cast<std::size_t>(std::clamp(done, 0.0, 1.0) * static_cast<double>(length));
        line += "  [" + std::string(filled, '#') + std::string(length - filled, '.') + "]";
    }
    for (const std::string& piece : pieces)
        if (line.size() + piece.size() <= room) line += piece;
    return line.substr(0, room);
}

std::string progress_line(const Progress& progress) {
    return fmt::format("step {} of {}, loss {}, {:.0f} tokens/s, {} left", progress.step, progress.steps,
                       loss_text(progress.loss), progress.tokens_per_second, format_seconds(progress.seconds_left));
}

ProgressPrinter::ProgressPrinter(std::FILE* stream)
    : stream_(stream), terminal_(on_terminal(stream)), last_(Clock::now()) {}

bool ProgressPrinter::due() {
    using namespace std::chrono_literals;
    const Clock::time_point now = Clock::now();
    if (now - last_ < (terminal_ ? Clock::duration(200ms) : Clock::duration(30s))) return false;
    last_ = now;
    return true;
}

void ProgressPrinter::draw(const std::vector<std::string>& lines) {
    const auto room = static_cast<std::size_t>(std::max(columns(), 0));
    std::vector<std::string> wanted;
    for (const std::string& line : lines)
        if (static_cast<int>(wanted.size()) < std::max(this->lines(), 1))
            wanted.push_back(first_columns(printable(line), room));
    if (wanted == drawn_) return;
    const bool same_width = std::exchange(drawn_columns_, columns()) == columns();
    std::string text = to_first_line();
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        if (i > 0) text += "\r\n";
        if (!same_width || i >= drawn_.size() || drawn_[i] != wanted[i]) text += wanted[i] + "\x1b[K";
    }
    if (wanted.size() < drawn_.size()) text += "\x1b[J";
    drawn_ = std::move(wanted);
    write(text);
}

void ProgressPrinter::leave() {
    if (!drawn_.empty()) write("\r\n");
    drawn_.clear();
}

/// From the end of what is drawn to its beginning.
std::string ProgressPrinter::to_first_line() const {
    return drawn_.size() > 1 ? fmt::format("\r\x1b[{}A", drawn_.size() - 1) : "\r";
}

// Its reader may be gone, or its disk full: no reason to end a run.
void ProgressPrinter::write(const std::string& text) {
    std::fputs(text.c_str(), stream_);
    std::fflush(stream_);
}

void ProgressPrinter::update(const Progress& progress) {
    update(std::vector{progress_bar(progress, columns())}, progress_line(progress));
}

void ProgressPrinter::update(const std::string& text) { update(std::vector{text}, text); }

void ProgressPrinter::update(const std::vector<std::string>& lines, const std::string& plain) {
    if (!due()) return;
    if (terminal_) draw(lines);
    else write(printable(plain) + "\n");
}

void ProgressPrinter::line(const std::string& text) {
    erase();
    write(printable(text) + "\n");
}

void ProgressPrinter::plain_line(const std::string& text) {
    if (!terminal_) line(text);
}

// One column less than there are: a full line makes some terminals wrap.
int ProgressPrinter::columns() const { return size_of(stream_).columns - 1; }

int ProgressPrinter::lines() const { return size_of(stream_).lines - 1; }

void ProgressPrinter::erase() {
    if (drawn_.empty()) return;
    write(to_first_line() + (drawn_.size() > 1 ? "\x1b[J" : "\x1b[K"));
    drawn_.clear();
}

RunHooks hooks_of(ProgressPrinter& printer, const std::atomic<bool>& stop) {
    RunHooks hooks;
    hooks.on_step = [&printer](const Progress& progress) { printer.update(progress); };
    hooks.on_eval = [&printer](std::int64_t step, double loss, double accuracy) {
        printer.line(std::isnan(accuracy)
                         ? fmt::format("step {}: no target of the evaluation batches is scored", step)
                         : fmt::format("step {}: eval loss {:.4f}, accuracy {:.3f}", step, loss, accuracy));
    };
    hooks.on_message = [&printer](const std::string& message) { printer.line(message); };
    hooks.stop = &stop;
    return hooks;
}

}  // namespace headscope::experiments::cli
