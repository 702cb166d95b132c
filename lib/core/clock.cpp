#include <penstock/core/clock.hpp>

namespace penstock {
namespace {

class steady_clock_source final : public clock {
public:
    time_point now() noexcept override
    {
        return time_point(std::chrono::duration_cast<duration>(std::chrono::steady_clock::now().time_since_epoch()));
    }
};

} // namespace

clock& system_clock_source() noexcept
{
    // Never destroyed: a detached thread may still ask for the time while static objects are torn down.
    static steady_clock_source& source = *new steady_clock_source;
    return source;
}

} // namespace penstock
