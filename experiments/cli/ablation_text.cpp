#include "experiments/cli/ablation_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/cli/text_lines.h"

namespace headscope::experiments::cli {

namespace {

constexpr std::size_t classes_beside = 7;  // columns of the second table

std::string change_cell(double value) { return std::isfinite(value) ? fmt::format("{:+.4f}", value) : "-"; }
std::string loss_cell(double value) { return std::isfinite(value) ? fmt::format("{:.4f}", value) : "-"; }

template <class Row>
void for_each_head(const AblationShape& shape, Row&& row) {
    for (std::int64_t layer = 0; layer < shape.layers; ++layer)
        for (std::int64_t head = 0; head < shape.heads; ++head) row(layer, head);
}

double mean_direction_delta(const AblationResult& result, std::int64_t layer, std::int64_t head) {
    double sum = 0;
    for (std::int64_t draw = 0; draw < result.draws; ++draw) sum += result.direction_delta(layer, head, draw);
    return sum / static_cast<double>(result.draws);
}

std::string summary(const AblationResult& result, const AblationReport& report) {
    std::string text = fmt::format("{}\nweights after {} updates, {} evaluation batches\n", report.run, result.step,
                                   result.eval_batches);
    text += fmt::format("\nloss, nat per token\n  {:<20} {:>8}\n  {:<20} {:>8}   logits times {:.3f}\n",
                        "no head removed", loss_cell(result.baseline.loss), "temperature refitted",
                        loss_cell(result.baseline.loss_refit), result.baseline.inverse_temperature);
    for (const Floor& floor : report.floors)
        text += fmt::format("  {:<20} {:>8.4f}\n", "floor " + floor.name, floor.loss);
    for (const Floor& reference : report.references)
        text += fmt::format("  {:<20} {:>8.4f}\n", "reference " + reference.name, reference.loss);
    return text;
}

std::string head_table(const AblationResult& result) {
    std::string text = fmt::format("\n{:<6}{:>30}{:>10}{:>22}\n", "", "change of the loss without it", "its loss",
                                   "change by controls");
    text += fmt::format("{:<6}{:>10}{:>10}{:>10}{:>10}{:>11}{:>11}{:>12}\n", "head", "zero", "mean", "resample",
                        "refitted", "other head", "direction", "importance");
    for_each_head(result, [&](std::int64_t layer, std::int64_t head) {
        text += fmt::format("{:<6}", fmt::format("{}.{}", layer, head));
        for (const Ablation ablation : ablations)
            text += fmt::format("{:>10}", change_cell(result.delta(layer, head, ablation)));
        text += fmt::format("{:>10}{:>11}{:>11}{:>12}\n", loss_cell(result.of(layer, head, Ablation::zero).loss_refit),
                            change_cell(result.control_delta(layer, head, Ablation::zero)),
                            change_cell(mean_direction_delta(result, layer, head)),
                            loss_cell(result.importance[static_cast<std::size_t>(layer * result.heads + head)]));
    });
    text += fmt::format(
        "\nrefitted: loss with the head at zero and one temperature chosen anew; the one\n"
        "to compare with a floor. other head: another one of the layer at zero.\n"
        "direction: a random vector as long as what the head adds, mean of {}.\n",
        result.draws);
    if (result.layers * result.heads < 3) return text;  // too few heads for ranks
    text += "\nrank correlation of importance and change of loss\n ";
    for (const Ablation ablation : ablations) {
        const double value = result.spearman[static_cast<std::size_t>(ablation)];
        text += fmt::format(" {} {}", name_of(ablation), std::isfinite(value) ? fmt::format("{:+.3f}", value) : "-");
    }
    return text + "\n";
}

std::string class_table(const AblationResult& result) {
    std::string text;
    for (std::size_t begin = 0; begin < result.classes.size(); begin += classes_beside) {
        const std::size_t end = std::min(result.classes.size(), begin + classes_beside);
        text += fmt::format("\nchange of the loss by target class, head at zero\n{:<6}", "head");
        for (std::size_t c = begin; c < end; ++c) text += " " + padded(first_columns(result.classes[c], 9), 9, true);
        text += "\n";
        for_each_head(result, [&](std::int64_t layer, std::int64_t head) {
            text += fmt::format("{:<6}", fmt::format("{}.{}", layer, head));
            for (std::size_t c = begin; c < end; ++c)
                text += fmt::format(" {:>9}", change_cell(result.of(layer, head, Ablation::zero).class_loss[c] -
                                                          result.baseline.class_loss[c]));
            text += "\n";
        });
    }
    return text;
}

using Json = nlohmann::ordered_json;

Json by_class(const AblationResult& result, const std::vector<double>& values) {
    Json object = Json::object();
    for (std::size_t c = 0; c < values.size(); ++c) object[result.classes[c]] = values[c];
    return object;
}

Json to_json(const AblationResult& result, const Losses& losses) {
    Json object{
        {"loss", losses.loss}, {"loss_refit", losses.loss_refit}, {"inverse_temperature", losses.inverse_temperature}};
    if (!result.classes.empty()) {
        object["class_loss"] = by_class(result, losses.class_loss);
        object["class_loss_refit"] = by_class(result, losses.class_loss_refit);
    }
    return object;
}

Json head_json(const AblationResult& result, std::int64_t layer, std::int64_t head) {
    const auto index = static_cast<std::size_t>(layer * result.heads + head);
    Json object{{"layer", layer}, {"head", head}, {"importance", result.importance[index]}};
    Json control{{"head", result.control_head[index]}};
    for (const Ablation ablation : ablations) {
        const Losses& losses = result.of(layer, head, ablation);
        Json& own = object[name_of(ablation)] = to_json(result, losses);
        own["delta"] = result.delta(layer, head, ablation);
        std::vector<double> class_delta = losses.class_loss;
        for (std::size_t c = 0; c < class_delta.size(); ++c) class_delta[c] -= result.baseline.class_loss[c];
        if (!result.classes.empty()) own["class_delta"] = by_class(result, class_delta);
        control[name_of(ablation)] = result.control_delta(layer, head, ablation);
    }
    object["control"] = control;
    Json deltas = Json::array(), refits = Json::array();
    for (std::int64_t draw = 0; draw < result.draws; ++draw) {
        deltas.push_back(result.direction_delta(layer, head, draw));
        refits.push_back(result.direction(layer, head, draw).loss_refit);
    }
    object["direction"] = {{"delta", deltas}, {"loss_refit", refits}};
    return object;
}

}  // namespace

std::string to_text(const AblationResult& result, const AblationReport& report) {
    return summary(result, report) + head_table(result) + class_table(result) + "\n" + report.file + "\n";
}

std::string to_json(const AblationResult& result, const AblationReport& report) {
    Json json{{"run", report.run},
              {"file", report.file},
              {"step", result.step},
              {"eval_batches", result.eval_batches},
              {"draws", result.draws},
              {"floors", Json::object()},
              {"references", Json::object()},
              {"baseline", to_json(result, result.baseline)},
              {"heads", Json::array()},
              {"spearman", Json::object()}};
    for (const Floor& floor : report.floors) json["floors"][floor.name] = floor.loss;
    for (const Floor& reference : report.references) json["references"][reference.name] = reference.loss;
    for_each_head(result, [&](std::int64_t layer, std::int64_t head) {
        json["heads"].push_back(head_json(result, layer, head));
    });
    for (const Ablation ablation : ablations)
        json["spearman"][name_of(ablation)] = result.spearman[static_cast<std::size_t>(ablation)];
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace headscope::experiments::cli
