#include "experiments/base/fields.h"

#include <fmt/format.h>

namespace headscope::experiments {

namespace {

Field& add(std::vector<Field>& fields, std::string key, Field::Kind kind, void* value, std::string doc) {
    Field field;
    field.key = std::move(key);
    field.kind = kind;
    field.doc = std::move(doc);
    field.value = value;
    fields.push_back(std::move(field));
    return fields.back();
}

}  // namespace

Field& Fields::integer(std::string key, std::int64_t& value, std::string doc, IntegerRange range) {
    Field& field = add(fields_, std::move(key), Field::Kind::integer, &value, std::move(doc));
    field.integer_range = range;
    return field;
}

Field& Fields::real(std::string key, double& value, std::string doc, RealRange range) {
    Field& field = add(fields_, std::move(key), Field::Kind::real, &value, std::move(doc));
    field.real_range = range;
    return field;
}

Field& Fields::boolean(std::string key, bool& value, std::string doc) {
    return add(fields_, std::move(key), Field::Kind::boolean, &value, std::move(doc));
}

Field& Fields::text(std::string key, std::string& value, std::string doc) {
    return add(fields_, std::move(key), Field::Kind::text, &value, std::move(doc));
}

Field& Fields::choice(std::string key, std::string& value, std::vector<std::string> choices, std::string doc) {
    Field& field = add(fields_, std::move(key), Field::Kind::choice, &value, std::move(doc));
    field.choices = std::move(choices);
    return field;
}

Field& Fields::text_list(std::string key, std::vector<std::string>& value, std::vector<std::string> choices,
                         std::string doc) {
    Field& field = add(fields_, std::move(key), Field::Kind::text_list, &value, std::move(doc));
    field.choices = std::move(choices);
    return field;
}

Field& Fields::integer_table(std::string key, std::map<std::string, std::int64_t>& value,
                             std::vector<std::string> choices, std::string doc, IntegerRange range) {
    Field& field = add(fields_, std::move(key), Field::Kind::integer_table, &value, std::move(doc));
    field.choices = std::move(choices);
    field.integer_range = range;
    return field;
}

Field& Fields::path(const std::string& key, DataPath& value, std::string doc) {
    const std::size_t first = fields_.size();
    text(key, value.given, std::move(doc));
    text("absolute_" + key, value.absolute, fmt::format("where {} was; a run notes it itself", key));
    for (std::size_t i = first; i < fields_.size(); ++i) fields_[i].data_path = &value;
    return fields_[first];
}

bool is_given_path(const Field& field) { return field.data_path != nullptr && field.value == &field.data_path->given; }

bool is_noted_path(const Field& field) { return field.data_path != nullptr && field.value != &field.data_path->given; }

bool is_unset(const Field& field) {
    if (is_noted_path(field))
        return field.data_path->given.empty() || static_cast<const std::string*>(field.value)->empty();
    if (field.kind == Field::Kind::integer)
        return *static_cast<const std::int64_t*>(field.value) < field.integer_range.min;
    if (field.kind == Field::Kind::real) return *static_cast<const double*>(field.value) < field.real_range.min;
    return false;
}

}  // namespace headscope::experiments
