#pragma once

// The log seam: the library hands records to a sink that the application gives it. Nothing is logged on the data path,
// and a failure is logged once, where it is handled.

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

enum class log_level : std::uint8_t {
    trace,   ///< every step of a protocol
    debug,   ///< what a developer of the library wants to know
    info,    ///< what an operator wants to know: chosen transport, connections made and closed
    warning, ///< it goes on, but slower or with less than was asked for
    error,   ///< something asked for did not happen
    off,     ///< no record has this level
};

/// "trace", "debug", ...
std::string_view to_string(log_level level) noexcept;

/// What a record is about, as far as that is known. It stands beside the message and not in it, so that the same thing said
/// of many connections is seen to be the same.
struct log_context {
    std::string_view peer{};      ///< "10.99.0.2:7471"; empty: none
    std::int32_t lane = -1;       ///< -1: none
    std::uint32_t queue_pair = 0; ///< 0: none
    std::uint32_t epoch = 0;      ///< 0: none
};

/// One line. The texts live until `log_sink::write` returns.
struct log_record {
    log_level level = log_level::info;
    std::string_view component; ///< who speaks: "fabric.tcp", "connection", ...
    std::string_view message;   ///< one line, no line end
    log_context about{};
};

/// The message with what it is about: "connection lost (peer 10.99.0.2:7471, lane 0, queue pair 17, epoch 2)".
std::string to_string(const log_record& record);

/// Where records go.
///
/// *Threads.* `write` is called from every thread that runs the library, several at once.
class log_sink {
public:
    log_sink() = default;
    log_sink(const log_sink&) = delete;
    log_sink& operator=(const log_sink&) = delete;
    virtual ~log_sink() = default;

    /// Must return soon: the caller is a poller. A record that cannot be written is lost.
    virtual void write(const log_record& record) noexcept = 0;
};

/// A sink, a threshold and a component's name: what an object keeps in order to log. Cheap to copy.
///
/// *Lifetime.* The sink and the name (a literal, as a rule) outlive every copy.
/// *Threads.* Any, if each uses its own copy or none changes it.
class logger {
public:
    /// Drops everything.
    logger() = default;

    explicit logger(log_sink& sink, log_level threshold = log_level::info, std::string_view component = {}) noexcept
        : sink_(&sink)
        , threshold_(threshold)
        , component_(component)
    {}

    /// The same sink and threshold for another component.
    logger for_component(std::string_view component) const noexcept
    {
        logger other = *this;
        other.component_ = component;
        return other;
    }

    /// The same threshold and component with another sink.
    logger through(log_sink& other_sink) const noexcept
    {
        logger other = *this;
        other.sink_ = &other_sink;
        return other;
    }

    log_sink* sink() const noexcept { return sink_; } ///< null: drops everything

    /// A record of this level would reach the sink. Ask before building a message that costs something.
    bool enabled(log_level level) const noexcept { return sink_ && level >= threshold_ && level < log_level::off; }

    void write(log_level level, std::string_view message, const log_context& about = {}) const noexcept
    {
        if (enabled(level))
            sink_->write({level, component_, message, about});
    }

    void trace(std::string_view message, const log_context& about = {}) const noexcept
    {
        write(log_level::trace, message, about);
    }
    void debug(std::string_view message, const log_context& about = {}) const noexcept
    {
        write(log_level::debug, message, about);
    }
    void info(std::string_view message, const log_context& about = {}) const noexcept
    {
        write(log_level::info, message, about);
    }
    void warning(std::string_view message, const log_context& about = {}) const noexcept
    {
        write(log_level::warning, message, about);
    }
    void error(std::string_view message, const log_context& about = {}) const noexcept
    {
        write(log_level::error, message, about);
    }

private:
    log_sink* sink_ = nullptr;
    log_level threshold_ = log_level::off;
    std::string_view component_;
};

} // namespace penstock
