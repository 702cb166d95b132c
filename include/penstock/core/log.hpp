#pragma once

// The log seam: the library hands records to a sink that the application gives it. Nothing is logged on the data path,
// and a failure is logged once, where it is handled.

#include <cstdint>
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

/// One line. The texts live until `log_sink::write` returns.
struct log_record {
    log_level level = log_level::info;
    std::string_view component; ///< who speaks: "fabric.tcp", "connection", ...
    std::string_view message;   ///< one line, no line end
};

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

    /// A record of this level would reach the sink. Ask before building a message that costs something.
    bool enabled(log_level level) const noexcept { return sink_ && level >= threshold_ && level < log_level::off; }

    void write(log_level level, std::string_view message) const noexcept
    {
        if (enabled(level))
            sink_->write({level, component_, message});
    }

    void trace(std::string_view message) const noexcept { write(log_level::trace, message); }
    void debug(std::string_view message) const noexcept { write(log_level::debug, message); }
    void info(std::string_view message) const noexcept { write(log_level::info, message); }
    void warning(std::string_view message) const noexcept { write(log_level::warning, message); }
    void error(std::string_view message) const noexcept { write(log_level::error, message); }

private:
    log_sink* sink_ = nullptr;
    log_level threshold_ = log_level::off;
    std::string_view component_;
};

} // namespace penstock
