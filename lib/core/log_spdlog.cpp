#include <penstock/core/log_spdlog.hpp>

#include <spdlog/details/log_msg.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <cerrno>
#include <fstream>
#include <utility>

namespace penstock {
namespace {

// spdlog's own level names are not ours ("warn", "critical"), so ours travel in the logger's name field.
constexpr const char* line_pattern = "%Y-%m-%dT%H:%M:%S.%f %n%v";

class spdlog_sink final : public log_sink {
public:
    explicit spdlog_sink(std::unique_ptr<std::ofstream> file)
        : file_(std::move(file))
    {
        if (file_)
            sink_ = std::make_unique<spdlog::sinks::ostream_sink_mt>(*file_, true);
        else
            sink_ = std::make_unique<spdlog::sinks::stderr_sink_mt>();
        sink_->set_formatter(std::make_unique<spdlog::pattern_formatter>(line_pattern));
    }

    void write(const log_record& record) noexcept override
    {
        try {
            std::string prefix(to_string(record.level));
            if (!record.component.empty())
                prefix.append(" [").append(record.component).append("]");
            prefix += ' ';
            const std::string text = to_string(record);
            sink_->log(spdlog::details::log_msg(prefix, spdlog::level::info, spdlog::string_view_t(text)));
        } catch (...) {
            // Lost, as the contract says: there is nobody to tell.
        }
    }

private:
    std::unique_ptr<std::ofstream> file_; // before sink_, which writes to it
    std::unique_ptr<spdlog::sinks::sink> sink_;
};

} // namespace

result<std::unique_ptr<log_sink>> make_spdlog_sink(const spdlog_sink_options& options)
{
    std::unique_ptr<std::ofstream> file;
    if (!options.path.empty()) {
        errno = 0;
        file = std::make_unique<std::ofstream>(options.path, std::ios::app);
        if (!file->is_open())
            return make_system_error(errno ? errno : EIO);
    }
    return std::make_unique<spdlog_sink>(std::move(file));
}

} // namespace penstock
