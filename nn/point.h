// Points: named places of a forward pass where guests may look at a value or put another in its place.
//
// Any number of guests may stay at a point, and none replaces another. A guest that looks is shown the value outside
// the graph; that changes no bit of the pass, and not the way in which it is computed. A guest that edits is given the
// value in the graph and returns one of the same shape and dtype, which the pass goes on with and is differentiated
// through. To see a gradient, edit: register a hook on the value and return it.
//
// In a pass the edits come first, in the order of their arrival, each given what the one before returned; then every
// look is shown the result. Without guests a point costs a comparison with null.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "autograd/tensor.h"

namespace headscope::nn {

using LookFunction = std::function<void(const Tensor& value)>;
using EditFunction = std::function<Tensor(const Tensor& value)>;

struct EditOptions {
    bool first = false;  ///< before the edits that are there already
    /// Tensors that collect gradients through the edit and are no parameters of the model (the weights of gates):
    /// whoever makes a backward pass of his own sets their gradients aside with the model's.
    std::vector<Tensor> leaves = {};
};

/// A guest's stay: it ends when this is destroyed. May outlive the point and its model.
class [[nodiscard]] Guest {
public:
    Guest() = default;
    Guest(Guest&& other) noexcept;
    Guest& operator=(Guest&& other) noexcept;
    ~Guest() { leave(); }
    /// Ends the stay now.
    void leave();

private:
    friend class Point;
    struct List;
    Guest(std::weak_ptr<List> list, std::uint64_t number) : list_(std::move(list)), number_(number) {}
    std::weak_ptr<List> list_;
    std::uint64_t number_ = 0;
};

class Point {
public:
    /// `name` is for messages: the dotted path where the owner knows it.
    explicit Point(std::string name) : name_(std::move(name)) {}
    Point(const Point&) = delete;
    Point& operator=(const Point&) = delete;

    Guest look(LookFunction look);
    Guest edit(EditFunction edit, EditOptions options = {});

    // --- for the module that owns the point ---

    bool has_guests() const { return list_ != nullptr && count_guests() > 0; }
    bool has_edits() const { return list_ != nullptr && count_edits() > 0; }
    bool has_looks() const { return list_ != nullptr && count_guests() > count_edits(); }
    /// What the pass goes on with. Throws Error when an edit returns another shape or dtype.
    Tensor pass(const Tensor& value) const { return has_guests() ? pass_guests(value) : value; }
    /// The looks alone: for a value that the fast path does not make, computed on the side. `make` is called without a
    /// graph, when somebody looks.
    void show(const std::function<Tensor()>& make) const;
    /// EditOptions::leaves of all guests.
    std::vector<Tensor> leaves() const;
    const std::string& name() const { return name_; }

private:
    Tensor pass_guests(const Tensor& value) const;
    Tensor apply_edits(const Tensor& value) const;
    std::size_t count_guests() const;
    std::size_t count_edits() const;

    std::string name_;
    std::shared_ptr<Guest::List> list_;  // made for the first guest
};

}  // namespace headscope::nn
