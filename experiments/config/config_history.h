// What `resume` changed in a run, and from which step on: the keys that may_change_on_resume(). The history is kept in
// the run's log (Log::set_config_history) as TOML, settings as one types them:
//
//   [[from]]
//   step = 0
//   set = ["train.steps=60", "eval.every=200", ...]
//
//   [[from]]
//   step = 60
//   set = ["train.steps=120", "eval.every=200", ...]
//
// Every part lists all such keys; one that is not listed has its default. A part holds for the rows of its step and of
// those after it, and for their updates, until the next part begins: a run that ended at step 60 and goes on makes the
// rows of step 60 again. Parts may lie ahead: in a fork of the run above at step 30, and in the run itself when it has
// to begin again before step 60.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/config/config.h"

namespace headscope::experiments {

using ConfigHistory = std::vector<ConfigFrom>;

/// `config` with the values that `settings` has for keys that may_change_on_resume().
Config with_resume_settings(const Config& config, const Config& settings);

/// Empty when one config holds for all steps.
std::string write_config_history(const ConfigHistory& history);

/// `config` gives all other keys. Throws IoError, UsageError for a value that is not possible; `place` names the text.
ConfigHistory read_config_history(const std::string& text, const std::string& place, const Config& config);

/// A run with a history, of at least one part, goes on from `step` by `config`: keys that differ from those of the last
/// part have their new value from `step` on. All else stays as planned.
ConfigHistory continued(const ConfigHistory& history, std::int64_t step, const Config& config);

/// The history with overrides, as of the command line, in all that holds at `from` and later.
ConfigHistory overridden(const ConfigHistory& history, std::int64_t from, const std::vector<std::string>& overrides);

/// "train.steps = 120 (was 60), eval.batches = 3 (was 8)": the keys that may_change_on_resume() and do; empty: none.
std::string describe_resume_changes(const Config& before, const Config& after);

}  // namespace headscope::experiments
