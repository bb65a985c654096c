#include <chrono>
#include <thread>

#include "experiments/cli/output.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/verb.h"
#include "experiments/cli/watch_text.h"

namespace headscope::experiments::cli {

namespace {

class Watch : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("path", path_, "the folder of a run or a sweep");
        options.flag("--once", once_, "show it as it is now, and end");
    }

    bool ends_on_signals() const override { return true; }

    /// Until it has ended, or a signal comes. Where there is no terminal, once.
    void run(const std::atomic<bool>& stop) override {
        using namespace std::chrono_literals;
        Watched watched(path_);
        ProgressPrinter printer(stdout);
        if (once_ || !printer.is_terminal()) {
            constexpr WatchSize of_paper{80, 100000};
            for (const std::string& line : watched.lines(of_paper)) print_out("{}\n", line);
            return;
        }
        while (!stop.load()) {
            printer.draw(watched.lines({printer.columns(), printer.lines()}));
            if (watched.ended()) break;
            for (int tenths = 0; tenths < 10 && !stop.load(); ++tenths) std::this_thread::sleep_for(100ms);
        }
        printer.leave();
    }

private:
    std::string path_;
    bool once_ = false;
};

const RegisterType<Verb> registered_watch("watch", "a run or a sweep while it trains: loss, heads, events",
                                          [] { return std::make_unique<Watch>(); });

}  // namespace

}  // namespace headscope::experiments::cli
