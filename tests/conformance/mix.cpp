// Random operations both ways, checked byte by byte against a model. The same on every run.

#include "conformance/suite.hpp"

#include <algorithm>
#include <cstring>

namespace penstock::conformance {

namespace {

constexpr std::size_t area = std::size_t{256} << 10U; // of the peer, written, read and added to by us alone
constexpr std::size_t slot_bytes = std::size_t{32} << 10U;
constexpr std::size_t slots = 16; // of ours: source or destination of one request each
constexpr std::size_t receive_slots = 16;
constexpr std::size_t receive_bytes = 4096;

// One end's buffer: the area the peer works on, then our slots, then where receives land.
constexpr std::size_t slots_at = area;
constexpr std::size_t receives_at = slots_at + slots * slot_bytes;
constexpr std::size_t buffer_bytes = receives_at + receive_slots * receive_bytes;

struct outstanding {
    completion_opcode operation{};
    std::size_t slot = 0;
    std::vector<std::byte> wanted; ///< what a read or atomic must bring
    bool signaled = true;
};

/// One direction: `mine` works on the area of `peer`; the model says what the area holds.
class direction {
public:
    direction(end& mine, end& peer, std::uint64_t seed)
        : mine_(mine)
        , peer_(peer)
        , random_(seed)
        , model_(area)
    {
        for (std::size_t i = 0; i != receive_slots; ++i)
            receive(i);
    }

    bool done(std::uint64_t operations) const { return posted_ >= operations && waiting_.empty(); }

    void post_some(std::uint64_t operations)
    {
        std::vector<work> list;
        const auto most = 1 + random_.below(4);
        while (list.size() < most && posted_ < operations && waiting_.size() < slots)
            list.push_back(next(operations));
        if (!list.empty())
            post(mine_, std::move(list));
    }

    void take_completions(direction& back)
    {
        for (auto& told = mine_.completions->told; !told.empty(); told.pop_front()) {
            const auto& one = told.front();
            expect(one.status == completion_status::success, "success, seen " + describe(one));
            if (one.operation == completion_opcode::receive
                || one.operation == completion_opcode::receive_write_immediate)
                back.arrived(one);
            else
                finished(one);
        }
    }

    void expect_area() const
    {
        expect(std::memcmp(model_.data(), peer_.buffer.at(0), area) == 0, "the peer's area is what the model says");
        expect(messages_.empty(), "every message has arrived");
    }

private:
    struct message {
        std::vector<std::byte> bytes;
        std::uint32_t immediate = 0;
        bool write = false;
    };

    void receive(std::size_t index)
    {
        peer_.receive(index, receives_at + index * receive_bytes, receive_bytes);
        ++credits_;
    }

    segments pieces(std::size_t slot, std::size_t length)
    {
        auto offset = slots_at + slot * slot_bytes;
        segments list;
        for (auto left = length; left != 0 && list.size() != 3;) {
            const auto size = list.size() == 2 ? left : random_.below(left + 1);
            list.push_back(mine_.segment(offset, size));
            offset += size;
            left -= size;
            if (left != 0 && list.size() == 3)
                break;
        }
        return list;
    }

    // A later write or send may pass an earlier read's work at the responder: those are fenced.
    work next(std::uint64_t operations)
    {
        const auto id = posted_++;
        outstanding entry;
        entry.slot = id % slots;
        // Lengths of all sizes are equally likely, short ones included.
        const auto length = random_.below(std::size_t{1} << (1 + random_.below(15)));
        const auto at = random_.below(area - length);
        auto made = choose(id, length, at, entry);
        entry.signaled = id + 1 == operations || waiting_.size() + 2 >= slots || random_.below(3) == 0;
        made.request.signaled = entry.signaled;
        waiting_.push_back(std::move(entry));
        return made;
    }

    work choose(std::uint64_t id, std::size_t length, std::size_t at, outstanding& entry)
    {
        const auto own = slots_at + entry.slot * slot_bytes;
        const auto dice = random_.below(10);
        if (dice < 3) {
            entry.operation = completion_opcode::read;
            const auto begin = model_.begin() + static_cast<std::ptrdiff_t>(at);
            entry.wanted.assign(begin, begin + static_cast<std::ptrdiff_t>(length));
            return read(id, pieces(entry.slot, length), peer_.remote(at));
        }
        if (dice == 3)
            return atomic(id, at / 8 * 8, entry);
        fill(mine_.bytes(own, length), static_cast<std::uint32_t>(random_.next()));
        if (dice >= 7 && credits_ != 0)
            return message_of(id, std::min(length, receive_bytes), at, dice == 7, entry);
        entry.operation = completion_opcode::write;
        std::memcpy(model_.data() + at, mine_.buffer.at(own), length);
        auto made = write(id, pieces(entry.slot, length), peer_.remote(at));
        made.fenced();
        return made;
    }

    work atomic(std::uint64_t id, std::size_t at, outstanding& entry)
    {
        auto* cell = model_.data() + at;
        const auto old = load_u64(cell);
        entry.wanted.assign(cell, cell + 8);
        const auto own = mine_.segment(slots_at + entry.slot * slot_bytes, 8);
        const auto value = random_.next();
        if (random_.below(2) == 0) {
            entry.operation = completion_opcode::fetch_add;
            store_u64(cell, old + value);
            return fetch_add(id, own, peer_.remote(at), value).fenced();
        }
        entry.operation = completion_opcode::compare_swap;
        const auto expected = random_.below(2) == 0 ? old : old + 1;
        if (expected == old)
            store_u64(cell, value);
        return compare_swap(id, own, peer_.remote(at), expected, value).fenced();
    }

    work message_of(std::uint64_t id, std::size_t length, std::size_t at, bool writes, outstanding& entry)
    {
        --credits_;
        const auto own = slots_at + entry.slot * slot_bytes;
        message sent;
        sent.write = writes;
        sent.immediate = static_cast<std::uint32_t>(random_.next());
        sent.bytes.assign(mine_.buffer.at(own), mine_.buffer.at(own) + length);
        entry.operation = writes ? completion_opcode::write : completion_opcode::send;
        auto list = pieces(entry.slot, length);
        if (writes)
            std::copy(sent.bytes.begin(), sent.bytes.end(), model_.begin() + static_cast<std::ptrdiff_t>(at));
        const auto immediate = sent.immediate;
        messages_.push_back(std::move(sent));
        auto made = writes ? write_with_immediate(id, std::move(list), peer_.remote(at), immediate)
                           : send_with_immediate(id, std::move(list), immediate);
        made.fenced();
        return made;
    }

    void arrived(const work_completion& told)
    {
        expect(!messages_.empty(), "a message nobody sent");
        const auto sent = std::move(messages_.front());
        messages_.pop_front();
        expect_equal("kind of message", told.operation == completion_opcode::receive_write_immediate, sent.write);
        expect_equal("bytes", told.byte_count, sent.bytes.size());
        expect(told.has_immediate, "the completion has an immediate value");
        expect_equal("immediate value", told.immediate_data, sent.immediate);
        expect_equal("receive", told.id, arrived_ % receive_slots);
        if (!sent.write)
            expect(std::equal(
                       sent.bytes.begin(), sent.bytes.end(), peer_.buffer.at(receives_at + told.id * receive_bytes)),
                "the bytes of the message");
        ++arrived_;
        receive(told.id);
    }

    // Covers the unsignaled requests before it.
    void finished(const work_completion& told)
    {
        for (;;) {
            expect(!waiting_.empty(), "a completion for nothing");
            const auto entry = std::move(waiting_.front());
            waiting_.pop_front();
            const auto id = finished_++;
            if (!entry.wanted.empty())
                expect(std::memcmp(entry.wanted.data(), mine_.buffer.at(slots_at + entry.slot * slot_bytes),
                           entry.wanted.size())
                        == 0,
                    "request " + std::to_string(id) + " (" + describe(entry.operation)
                        + ") brings what the model says");
            if (!entry.signaled) {
                expect(id != told.id, "an unsignaled request does not complete");
                continue;
            }
            expect_equal("id", told.id, id);
            expect_equal("opcode", told.operation, entry.operation);
            return;
        }
    }

    end& mine_;
    end& peer_;
    numbers random_;
    std::vector<std::byte> model_;
    std::deque<outstanding> waiting_;
    std::deque<message> messages_; ///< sent and not arrived
    std::uint64_t posted_ = 0;
    std::uint64_t finished_ = 0;
    std::uint64_t arrived_ = 0;
    std::size_t credits_ = 0;
};

void random_mix(world& home, std::uint64_t seed, std::uint64_t operations, const path_options& path)
{
    end_options options;
    options.buffer_bytes = buffer_bytes;
    options.send_depth = slots;
    options.receive_depth = receive_slots;
    options.path = path;
    linked ends(home, options, options);
    direction there(ends.a, ends.b, seed);
    direction back(ends.b, ends.a, seed + 1);
    home.run_until(
        "all operations are done",
        [&] {
            there.post_some(operations);
            back.post_some(operations);
            there.take_completions(back);
            back.take_completions(there);
            return there.done(operations) && back.done(operations);
        },
        4 * patience);
    home.run_until("all messages have arrived", [&] {
        there.take_completions(back);
        back.take_completions(there);
        return ends.a.completions->told.empty() && ends.b.completions->told.empty();
    });
    home.run_for(5ms);
    there.take_completions(back);
    back.take_completions(there);
    there.expect_area();
    back.expect_area();
}

void first_seed(world& home)
{
    random_mix(home, 1, 1500, {});
}
void second_seed(world& home)
{
    random_mix(home, 77, 1500, {});
}
void one_read_at_a_time(world& home)
{
    path_options path;
    path.initiator_depth = 1;
    path.responder_resources = 1;
    random_mix(home, 4711, 800, path);
}

constexpr conformance_case cases[] = {
    {"mix/first_seed", first_seed},
    {"mix/second_seed", second_seed},
    {"mix/one_read_at_a_time", one_read_at_a_time},
};

} // namespace

case_table mix_cases()
{
    return cases;
}

} // namespace penstock::conformance
