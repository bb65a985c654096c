// Progress of a training run: a bar on a terminal, a plain line every 30 seconds elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "experiments/training/run_hooks.h"

namespace headscope::experiments::cli {

/// "0:07", "12:30", "3:02:11"; "-" when not finite.
std::string format_seconds(double seconds);

/// One line of at most `width` columns: steps, bar, loss, tokens per second, time left. The bar shrinks first, then the
/// line loses pieces from its end.
std::string progress_bar(const Progress& progress, int width);

/// The same in words, for a file: "step 120 of 2000, loss 1.6771, 84100 tokens/s, 0:42 left".
std::string progress_line(const Progress& progress);

/// Writes progress to one stream; what cannot be written is lost, and nobody told. The bar is drawn over itself about
/// five times a second and leaves nothing behind.
class ProgressPrinter {
public:
    explicit ProgressPrinter(std::FILE* stream);
    ~ProgressPrinter() { erase(); }
    ProgressPrinter(const ProgressPrinter&) = delete;
    ProgressPrinter& operator=(const ProgressPrinter&) = delete;

    void update(const Progress& progress);
    /// The same with a text of one's own.
    void update(const std::string& text);
    /// The same in several lines on a terminal, as many as it has room for; elsewhere `plain`.
    void update(const std::vector<std::string>& lines, const std::string& plain);
    /// Draws lines at once, over those drawn before; only what has changed of them is sent.
    void draw(const std::vector<std::string>& lines);
    /// What is drawn stays, and the next line comes below it.
    void leave();
    /// A line that stays.
    void line(const std::string& text);
    /// A line that stays, where there is no terminal to draw on.
    void plain_line(const std::string& text);
    void erase();
    bool is_terminal() const { return terminal_; }
    /// Room for text: on a terminal one less than it has of each; 79 and 23 where there is none.
    int columns() const;
    int lines() const;

private:
    using Clock = std::chrono::steady_clock;
    /// Is it time for the next one? Then the next is counted from now.
    bool due();
    std::string to_first_line() const;
    void write(const std::string& text);
    std::FILE* stream_;
    bool terminal_;
    std::vector<std::string> drawn_;  ///< lines
    int drawn_columns_ = 0;           ///< of the terminal then
    Clock::time_point last_;
};

/// Hooks that report to `printer`, which must outlive them.
RunHooks hooks_of(ProgressPrinter& printer, const std::atomic<bool>& stop);

}  // namespace headscope::experiments::cli
