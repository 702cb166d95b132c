// 10_trainer URI COPY [SAMPLES [TRANSPORT]]
//
// What a trainer's data loader does: random samples of one archive, many at once, straight into registered memory. COPY is the
// same archive as a local file: every byte that arrives is compared with it. See README.md.

#include <penstock/connection/runtime.hpp>
#include <penstock/core/byte_size.hpp>
#include <penstock/core/random.hpp>
#include <penstock/storage/client.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace asio = boost::asio;
using asio::awaitable;
using asio::use_awaitable;
using namespace penstock::literals;

namespace {

constexpr std::size_t sample_bytes_min = 4_KiB;
constexpr std::size_t sample_bytes_max = 128_KiB;
constexpr std::size_t slots = 32; // samples on their way at once
constexpr std::uint64_t mismatches_shown = 5;

/// A local file, mapped for reading.
class mapped_file {
public:
    explicit mapped_file(const char* path)
    {
        const int file = ::open(path, O_RDONLY | O_CLOEXEC);
        struct stat status {};
        if (file < 0 || ::fstat(file, &status) != 0) {
            throw std::runtime_error(std::string(path) + ": " + std::strerror(errno));
        }
        size_ = static_cast<std::size_t>(status.st_size);
        data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
        const int failed = errno;
        ::close(file);
        if (data_ == MAP_FAILED) {
            throw std::runtime_error(std::string(path) + ": " + std::strerror(failed));
        }
    }
    mapped_file(const mapped_file&) = delete;
    mapped_file& operator=(const mapped_file&) = delete;
    ~mapped_file() { ::munmap(data_, size_); }

    std::size_t size() const noexcept { return size_; }
    const std::byte* at(std::uint64_t offset) const noexcept { return static_cast<const std::byte*>(data_) + offset; }

private:
    std::size_t size_ = 0;
    void* data_ = nullptr;
};

struct arguments {
    penstock::storage::uri archive;
    const char* copy = nullptr;
    std::uint64_t samples = 10'000;
    penstock::transport_choice transport = penstock::transport_choice::automatic;
};

/// One run over an archive. Everything happens on the runtime's one thread, so nothing here is locked.
class trainer {
public:
    trainer(penstock::runtime& rt, const arguments& wanted)
        : rt_(rt)
        , wanted_(wanted)
        , copy_(wanted.copy)
        , random_(penstock::system_random_source().next())
    {}

    awaitable<void> run()
    {
        penstock::storage::client_options options;
        options.transport = wanted_.transport;
        options.depth = slots;
        client_.emplace(co_await penstock::storage::client::async_open(rt_, wanted_.archive, options, use_awaitable));
        // An empty buffer: only the handle and the size are wanted, no bytes yet.
        archive_ = co_await client_->async_open_object(
            wanted_.archive.name, penstock::memory::local_buffer(), use_awaitable);
        if (archive_.info.size != copy_.size()) {
            throw std::runtime_error("the copy has " + std::to_string(copy_.size()) + " bytes, the object "
                + std::to_string(archive_.info.size));
        }
        if (archive_.info.size < sample_bytes_max) {
            throw std::runtime_error("the archive is smaller than one sample");
        }

        const auto began = rt_.time().now();
        co_await run_slots();
        const auto elapsed = std::chrono::duration<double>(rt_.time().now() - began).count();

        co_await client_->async_close(archive_.handle, use_awaitable);
        report(elapsed);
        client_.reset(); // before the runtime, and inside its loop
    }

    bool all_equal() const noexcept { return mismatches_ == 0 && verified_ == wanted_.samples; }

private:
    awaitable<void> run_slots()
    {
        const auto start = [this] { return asio::co_spawn(rt_.executor(), read_samples(), asio::deferred); };
        std::vector<decltype(start())> running;
        const auto at_once = std::min<std::size_t>(slots, client_->current().depth);
        for (std::size_t slot = 0; slot != at_once; ++slot) {
            running.push_back(start());
        }
        auto group = asio::experimental::make_parallel_group(std::move(running));
        auto [order, thrown] = co_await group.async_wait(asio::experimental::wait_for_all(), use_awaitable);
        for (const auto& each : thrown) {
            if (each) {
                std::rethrow_exception(each);
            }
        }
    }

    /// One slot: its own registered buffer, one sample after the other until enough were begun.
    awaitable<void> read_samples()
    {
        const auto buffer = rt_.pool().acquire().value();
        while (begun_ != wanted_.samples) {
            ++begun_;
            const auto length = sample_bytes_min
                + static_cast<std::size_t>(penstock::uniform_below(random_, sample_bytes_max - sample_bytes_min + 1));
            const auto offset = penstock::uniform_below(random_, archive_.info.size - length + 1);
            const auto got
                = co_await client_->async_read(archive_.handle, offset, buffer.slice(0, length), use_awaitable);
            verify(offset, length, buffer.bytes().first(got));
        }
    }

    void verify(std::uint64_t offset, std::size_t length, std::span<const std::byte> sample)
    {
        if (sample.size() == length && std::memcmp(sample.data(), copy_.at(offset), length) == 0) {
            ++verified_;
            bytes_ += length;
        } else if (++mismatches_ <= mismatches_shown) {
            std::fprintf(stderr, "10_trainer: the sample of %zu bytes at %llu is not what the copy has there\n", length,
                static_cast<unsigned long long>(offset));
        }
    }

    void report(double seconds) const
    {
        const auto& how = client_->current();
        std::printf("%llu samples of 4-128 KiB, %s in %.2f s: %.0f samples/s, %s; %llu equal, %llu not; %s (%s)\n",
            static_cast<unsigned long long>(begun_), penstock::format_byte_size(bytes_).c_str(), seconds,
            static_cast<double>(verified_) / seconds,
            penstock::format_byte_rate(static_cast<double>(bytes_) / seconds).c_str(),
            static_cast<unsigned long long>(verified_), static_cast<unsigned long long>(mismatches_),
            std::string(penstock::fabric::to_string(how.transport)).c_str(), how.transport_reason.c_str());
    }

    penstock::runtime& rt_;
    const arguments& wanted_;
    mapped_file copy_;
    penstock::seeded_random_source random_;
    std::optional<penstock::storage::client> client_;
    penstock::storage::opened_object archive_;
    std::uint64_t begun_ = 0;
    std::uint64_t verified_ = 0;
    std::uint64_t mismatches_ = 0;
    std::uint64_t bytes_ = 0; // of samples that were equal
};

arguments parse(std::span<char*> given)
{
    if (given.size() < 3 || given.size() > 5) {
        throw std::invalid_argument("usage: 10_trainer URI COPY [SAMPLES [auto|verbs|tcp]]");
    }
    arguments wanted;
    wanted.archive = penstock::storage::parse_uri(given[1]).value();
    wanted.copy = given[2];
    if (given.size() > 3) {
        const std::string_view text = given[3];
        const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), wanted.samples);
        if (failed != std::errc() || end != text.data() + text.size() || wanted.samples == 0) {
            throw std::invalid_argument("SAMPLES is a number above 0");
        }
    }
    if (given.size() > 4) {
        wanted.transport = penstock::parse_transport_choice(given[4]).value();
    }
    return wanted;
}

} // namespace

int main(int count, char** values)
try {
    const auto wanted = parse({values, static_cast<std::size_t>(count)});
    asio::io_context io(1);
    penstock::runtime_options options;
    options.transport = wanted.transport;
    options.pool.slice_bytes = sample_bytes_max;
    penstock::runtime rt(io.get_executor(), options);
    trainer training(rt, wanted);
    asio::co_spawn(io, training.run(), [&io](std::exception_ptr thrown) {
        if (thrown) {
            std::rethrow_exception(thrown);
        }
        io.stop();
    });
    io.run();
    return training.all_equal() ? 0 : 1;
} catch (const std::exception& thrown) {
    std::fprintf(stderr, "10_trainer: %s\n", thrown.what());
    return 1;
}
