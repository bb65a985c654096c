#include "experiments/storage/log_tail.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

#include "experiments/base/errors.h"
#include "experiments/base/sha256.h"

namespace headscope::experiments {

namespace {

constexpr std::string_view title = "headscope log tail of publication ", block_start = "rows ";

constexpr const char* misread = ": reads back other than it was written; the disk may be failing";

void fail_to_write(const std::string& path, int error) { fail_io(path, "cannot be written", error); }

/// Reads a tail from its beginning to its end.
class TailReader {
public:
    TailReader(const std::string& path, const Descriptor& file, std::uint64_t size)
        : path_(path), file_(file), size_(size) {}

    /// The next line that begins with `start`, without that; nothing when there is none, or no end of it.
    std::optional<std::string> line(std::string_view start) {
        constexpr std::uint64_t longest = 128;
        std::string text(static_cast<std::size_t>(std::min(longest, size_ - at_)), '\0');
        read_at(file_, path_, at_, std::as_writable_bytes(std::span(text)));
        const std::size_t end = text.find('\n');
        if (end == std::string::npos || !text.starts_with(start)) return std::nullopt;
        at_ += end + 1;
        return text.substr(start.size(), end - start.size());
    }

    /// The bytes of the block that begins with a line "<bytes> <SHA-256>"; nothing when it is not whole.
    std::optional<std::vector<std::byte>> block(const std::string& header) {
        std::uint64_t bytes = 0;
        const auto [end, error] = std::from_chars(header.data(), header.data() + header.size(), bytes);
        if (error != std::errc() || bytes > size_ - at_) return std::nullopt;
        std::vector<std::byte> content(static_cast<std::size_t>(bytes));
        read_at(file_, path_, at_, content);
        if (" " + sha256(content) != std::string(end, header.data() + header.size())) return std::nullopt;
        at_ += bytes;
        return content;
    }

    std::uint64_t at() const { return at_; }

private:
    const std::string& path_;
    const Descriptor& file_;
    std::uint64_t size_, at_ = 0;
};

TailContents read_blocks(const std::string& path, const Descriptor& file,
                         const std::function<void(std::int64_t publication, std::span<const std::byte>)>& use) {
    struct stat status {};
    if (::fstat(file, &status) != 0) fail_io(path, "cannot be read", errno);
    if (!S_ISREG(status.st_mode)) throw IoError(path + ": is no regular file");
    TailContents contents;
    contents.bytes = static_cast<std::uint64_t>(status.st_size);
    TailReader reader(path, file, contents.bytes);
    const std::optional<std::string> number = reader.line(title);
    if (!number) return contents;
    std::from_chars(number->data(), number->data() + number->size(), contents.publication);
    contents.whole_bytes = reader.at();
    while (const auto header = reader.line(block_start)) {
        const auto rows = reader.block(*header);
        if (!rows) break;
        contents.whole_bytes = reader.at();
        ++contents.blocks;
        use(contents.publication, *rows);
    }
    return contents;
}

void append_dataset(hdf5::File& log, const hdf5::File& rows, const std::string& path) {
    switch (rows.info(path).type) {
        case hdf5::Type::f32: return log.append_rows<float>(path, rows.read<float>(path));
        case hdf5::Type::f64: return log.append_rows<double>(path, rows.read<double>(path));
        case hdf5::Type::i64: return log.append_rows<std::int64_t>(path, rows.read<std::int64_t>(path));
        default: return log.append_texts(path, rows.read_texts(path));
    }
}

void append_group(hdf5::File& log, const hdf5::File& rows, const std::string& group) {
    for (const std::string& name : rows.children(group.empty() ? "/" : group)) {
        const std::string path = group + "/" + name;
        if (rows.has_group(path)) append_group(log, rows, path);
        else append_dataset(log, rows, path);
    }
}

}  // namespace

std::string tail_path(const std::string& log) { return log + ".tail"; }

TailWriter::TailWriter(Folder folder, const std::string& log_name)
    : folder_(std::move(folder)), name_(tail_path(log_name)), path_(folder_.path_of(name_)) {}

void TailWriter::append(std::int64_t publication, std::span<const std::byte> rows) {
    if (file_ < 0) {
        remove();
        file_ = folder_.open(name_, O_RDWR | O_CREAT | O_EXCL | O_APPEND);
        if (file_ < 0) folder_.fail(name_, "cannot be written", errno);
        const std::string first = fmt::format("{}{}\n", title, publication);
        if (const int error = write_all(file_, std::as_bytes(std::span(first)))) fail_to_write(path_, error);
    }
    const std::string line = fmt::format("{}{} {}\n", block_start, rows.size(), sha256(rows));
    const auto header = std::as_bytes(std::span(line));
    std::vector<std::byte> block(header.begin(), header.end());
    block.insert(block.end(), rows.begin(), rows.end());
    if (const int error = write_all(file_, block)) fail_to_write(path_, error);
    const off_t end = ::lseek(file_, 0, SEEK_CUR);
    std::vector<std::byte> found(block.size());
    read_at(file_, path_, static_cast<std::uint64_t>(end) - block.size(), found);
    if (found != block) throw IoError(path_ + misread);
    ++blocks_;
}

void TailWriter::sync() {
    if (file_ < 0) return;
    if (const int error = sync_file(file_)) fail_io(path_, "cannot be synced to disk", error);
    if (!in_folder_) folder_.sync();
    in_folder_ = true;
}

void TailWriter::remove() {
    file_ = Descriptor();
    blocks_ = 0;
    in_folder_ = false;
    folder_.remove(name_);
}

std::uint64_t TailWriter::read_back(std::uint64_t skip,
                                    const std::function<void(std::span<const std::byte>)>& use) const {
    if (file_ < 0) return 0;
    std::uint64_t number = 0;
    const TailContents contents = read_blocks(path_, file_, [&](std::int64_t, std::span<const std::byte> rows) {
        if (number++ >= skip) use(rows);
    });
    if (contents.blocks != blocks_) throw IoError(path_ + misread);
    return blocks_;
}

TailContents read_tail(const std::string& log, std::int64_t publication,
                       const std::function<void(std::span<const std::byte>)>& use) {
    const std::string path = tail_path(log);
    const Descriptor file = open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0 && errno == ENOENT) return {};
    if (file < 0) fail_io(path, "cannot be opened", errno);
    return read_blocks(path, file, [&](std::int64_t of, std::span<const std::byte> rows) {
        if (of == publication) use(rows);
    });
}

void append_rows(hdf5::File& log, const hdf5::File& rows) { append_group(log, rows, ""); }

}  // namespace headscope::experiments
