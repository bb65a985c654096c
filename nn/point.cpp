#include "nn/point.h"

#include <algorithm>
#include <utility>

#include "autograd/error.h"
#include "autograd/graph.h"

namespace headscope::nn {

struct Guest::List {
    struct Edit {
        std::uint64_t number;
        EditFunction call;
        std::vector<Tensor> leaves;
    };
    struct Look {
        std::uint64_t number;
        LookFunction call;
    };
    std::uint64_t last_number = 0;
    std::vector<Edit> edits;
    std::vector<Look> looks;
};

Guest::Guest(Guest&& other) noexcept : list_(std::move(other.list_)), number_(other.number_) { other.list_.reset(); }

Guest& Guest::operator=(Guest&& other) noexcept {
    if (this == &other) return *this;
    leave();
    list_ = std::move(other.list_);
    number_ = other.number_;
    other.list_.reset();
    return *this;
}

void Guest::leave() {
    if (const std::shared_ptr<List> list = list_.lock()) {
        std::erase_if(list->edits, [this](const List::Edit& edit) { return edit.number == number_; });
        std::erase_if(list->looks, [this](const List::Look& look) { return look.number == number_; });
    }
    list_.reset();
}

Guest Point::look(LookFunction look) {
    if (!list_) list_ = std::make_shared<Guest::List>();
    const std::uint64_t number = ++list_->last_number;
    list_->looks.push_back({number, std::move(look)});
    return {list_, number};
}

Guest Point::edit(EditFunction edit, EditOptions options) {
    if (!list_) list_ = std::make_shared<Guest::List>();
    const std::uint64_t number = ++list_->last_number;
    const auto place = options.first ? list_->edits.begin() : list_->edits.end();
    list_->edits.insert(place, {number, std::move(edit), std::move(options.leaves)});
    return {list_, number};
}

std::size_t Point::count_guests() const { return list_->edits.size() + list_->looks.size(); }

std::size_t Point::count_edits() const { return list_->edits.size(); }

Tensor Point::pass_guests(const Tensor& value) const {
    const Tensor result = apply_edits(value);
    show([&] { return result; });
    return result;
}

Tensor Point::apply_edits(const Tensor& value) const {
    if (!has_edits()) return value;
    const auto describe = [](const Tensor& tensor) {
        return tensor.shape().str() + " " + std::string(headscope::name_of(tensor.dtype()));
    };
    Tensor current = value;
    const std::vector<Guest::List::Edit> edits = list_->edits;  // a guest may leave meanwhile
    for (const Guest::List::Edit& edit : edits) {
        Tensor next = edit.call(current);
        if (!next.defined() || next.shape() != value.shape() || next.dtype() != value.dtype())
            throw Error("point " + name_ + ": an edit must keep shape and dtype; it was given " + describe(value) +
                        (next.defined() ? ", it returned " + describe(next) : ", it returned none"));
        current = std::move(next);
    }
    return current;
}

void Point::show(const std::function<Tensor()>& make) const {
    if (!has_looks()) return;
    const NoGrad no_grad;
    const Tensor value = make().detach();
    const std::vector<Guest::List::Look> looks = list_->looks;
    for (const Guest::List::Look& look : looks) look.call(value);
}

std::vector<Tensor> Point::leaves() const {
    std::vector<Tensor> all;
    if (list_)
        for (const Guest::List::Edit& edit : list_->edits)
            all.insert(all.end(), edit.leaves.begin(), edit.leaves.end());
    return all;
}

}  // namespace headscope::nn
