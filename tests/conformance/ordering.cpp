// What a queue pair promises about order: completions, visibility, fences.

#include "conformance/suite.hpp"

namespace penstock::conformance {

namespace {

void completions_in_order_posted(linked& ends)
{
    auto& [a, b] = ends;
    b.receive(50, 0, 4096);
    b.receive_nothing(51);
    store_u64(b.buffer.at(40000), 3);
    post(a,
        {read(1, {a.segment(32768, 32768)}, b.remote(0)), send(2, {a.segment(0, 10)}),
            fetch_add(3, a.segment(16384, 8), b.remote(40000), 1), write(4, {a.segment(0, 8192)}, b.remote(8192)),
            write_with_immediate(5, {}, b.remote(0), 1), read(6, {a.segment(20000, 1)}, b.remote(1)),
            write(7, {}, b.remote(0))});
    a.completions->expect_success(1, completion_opcode::read);
    a.completions->expect_success(2, completion_opcode::send);
    a.completions->expect_success(3, completion_opcode::fetch_add);
    a.completions->expect_success(4, completion_opcode::write);
    a.completions->expect_success(5, completion_opcode::write);
    a.completions->expect_success(6, completion_opcode::read);
    a.completions->expect_success(7, completion_opcode::write);
    b.completions->expect_success(50, completion_opcode::receive);
    b.completions->expect_success(51, completion_opcode::receive_write_immediate);
}

void receives_in_order_posted(linked& ends)
{
    auto& [a, b] = ends;
    for (std::uint64_t i = 0; i != 40; ++i)
        b.receive(i, i * 16, 16);
    std::vector<work> list;
    for (std::uint64_t i = 0; i != 40; ++i) {
        store_u64(a.buffer.at(i * 8), i * 3);
        list.push_back(send(i, {a.segment(i * 8, 8)}));
    }
    post(a, std::move(list));
    for (std::uint64_t i = 0; i != 40; ++i) {
        const auto told = b.completions->expect_success(i, completion_opcode::receive);
        expect_equal("queue pair of the receive", told.queue_pair_number, b.pair->number());
        expect_equal("message", load_u64(b.buffer.at(i * 16)), i * 3);
        expect_equal("queue pair of the send",
            a.completions->expect_success(i, completion_opcode::send).queue_pair_number, a.pair->number());
    }
}

void identifiers_are_returned_whole(linked& ends)
{
    auto& [a, b] = ends;
    for (const std::uint64_t id : {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{0x8000000000000001U}}) {
        b.receive_nothing(~id);
        post(a, {send(id, {})});
        a.completions->expect_success(id, completion_opcode::send);
        b.completions->expect_success(~id, completion_opcode::receive);
    }
}

// The message says that the bytes written before it are there.
void write_then_send_is_visible(linked& ends)
{
    auto& [a, b] = ends;
    for (std::uint32_t round = 0; round != 50; ++round) {
        fill(a.bytes(0, 32768), round);
        b.receive_nothing(round);
        post(a, {write(1, {a.segment(0, 32768)}, b.remote(17)).unsignaled(), send(2, {})});
        b.completions->expect_success(round, completion_opcode::receive);
        expect_pattern(b.bytes(17, 32768), round);
        a.completions->expect_success(2, completion_opcode::send);
    }
}

void write_with_immediate_is_visible(linked& ends)
{
    auto& [a, b] = ends;
    for (std::uint32_t round = 0; round != 50; ++round) {
        fill(a.bytes(0, 30000), round + 100);
        b.receive_nothing(round);
        post(a,
            {write(1, {a.segment(0, 15000)}, b.remote(0)).unsignaled(),
                write_with_immediate(2, {a.segment(15000, 15000)}, b.remote(15000), round)});
        b.completions->expect_success(round, completion_opcode::receive_write_immediate);
        expect_pattern(b.bytes(0, 30000), round + 100);
        a.completions->expect_success(2, completion_opcode::write);
    }
}

// A write's completion means placed: the target's own program sees the bytes without a message.
void write_completion_means_placed(linked& ends)
{
    auto& [a, b] = ends;
    for (std::uint32_t round = 0; round != 50; ++round) {
        fill(a.bytes(0, 20000), round + 7);
        post(a, {write(1, {a.segment(0, 20000)}, b.remote(100))});
        a.completions->expect_success(1, completion_opcode::write);
        expect_pattern(b.bytes(100, 20000), round + 7);
    }
}

// Later writes overwrite earlier ones, whatever their sizes.
void writes_land_in_order(linked& ends)
{
    auto& [a, b] = ends;
    for (std::uint32_t i = 0; i != 32; ++i)
        fill_with(a.bytes(i * 2048, 2048), static_cast<std::byte>(i + 1));
    std::vector<work> list;
    for (std::size_t i = 0; i != 32; ++i) {
        const std::size_t length = i % 3 == 0 ? 2048 : 1 + i * 60;
        list.push_back(write(i, {a.segment(i * 2048, length)}, b.remote(0)));
    }
    std::vector<std::byte> wanted(2048);
    for (std::size_t i = 0; i != 32; ++i) {
        const std::size_t length = i % 3 == 0 ? 2048 : 1 + i * 60;
        fill_with(std::span(wanted).first(length), static_cast<std::byte>(i + 1));
    }
    post(a, std::move(list));
    for (std::uint64_t i = 0; i != 32; ++i)
        a.completions->expect_success(i, completion_opcode::write);
    expect(std::equal(wanted.begin(), wanted.end(), b.buffer.at(0)), "the bytes of the last write that reached them");
}

void read_after_write_reads_it(linked& ends)
{
    auto& [a, b] = ends;
    std::vector<work> list;
    for (std::uint32_t i = 0; i != 8; ++i) {
        fill(a.bytes(i * 2000, 2000), i + 1);
        list.push_back(write(i, {a.segment(i * 2000, 2000)}, b.remote(i * 2000)).unsignaled());
        list.push_back(read(100 + i, {a.segment(32768 + i * 2000, 2000)}, b.remote(i * 2000)));
    }
    post(a, std::move(list));
    for (std::uint32_t i = 0; i != 8; ++i) {
        a.completions->expect_success(100 + i, completion_opcode::read);
        expect_pattern(a.bytes(32768 + i * 2000, 2000), i + 1);
    }
}

void read_after_atomic_reads_it(linked& ends)
{
    auto& [a, b] = ends;
    store_u64(b.buffer.at(0), 5);
    post(a, {fetch_add(1, a.segment(0, 8), b.remote(0), 10), read(2, {a.segment(8, 8)}, b.remote(0))});
    a.completions->expect_success(1, completion_opcode::fetch_add);
    a.completions->expect_success(2, completion_opcode::read);
    expect_equal("value read", load_u64(a.buffer.at(8)), 15U);
}

// The fenced write starts when the read before it has its bytes.
void fenced_write_does_not_reach_earlier_read(linked& ends)
{
    auto& [a, b] = ends;
    for (std::uint32_t round = 0; round != 20; ++round) {
        fill(b.bytes(0, 30000), round);
        fill(a.bytes(0, 30000), round + 1);
        post(a,
            {read(1, {a.segment(32768, 30000)}, b.remote(0)).unsignaled(),
                write(2, {a.segment(0, 30000)}, b.remote(0)).fenced()});
        a.completions->expect_success(2, completion_opcode::write);
        expect_pattern(a.bytes(32768, 30000), round);
        expect_pattern(b.bytes(0, 30000), round + 1);
    }
}

// Data read is sent on in one list: without the fence the send might gather before the bytes are there.
void fenced_send_carries_bytes_just_read(linked& ends)
{
    auto& [a, b] = ends;
    for (std::uint32_t round = 0; round != 20; ++round) {
        fill(b.bytes(0, 9000), round + 40);
        fill_with(a.bytes(0, 9000), std::byte{0});
        b.receive(round, 20000, 9000);
        post(a, {read(1, {a.segment(0, 9000)}, b.remote(0)).unsignaled(), send(2, {a.segment(0, 9000)}).fenced()});
        a.completions->expect_success(2, completion_opcode::send);
        b.completions->expect_success(round, completion_opcode::receive);
        expect_pattern(b.bytes(20000, 9000), round + 40);
    }
}

void fence_without_reads_is_free(linked& ends)
{
    auto& [a, b] = ends;
    b.receive_nothing(5);
    post(a, {write(1, {a.segment(0, 8)}, b.remote(0)).fenced(), send(2, {}).fenced()});
    a.completions->expect_success(1, completion_opcode::write);
    a.completions->expect_success(2, completion_opcode::send);
    b.completions->expect_success(5, completion_opcode::receive);
}

void reads_beyond_initiator_depth(world& home)
{
    end_options options;
    options.path.initiator_depth = 2;
    options.path.responder_resources = 2;
    linked ends(home, options, options);
    auto& [a, b] = ends;
    fill(b.buffer.bytes(), 61);
    store_u64(b.buffer.at(65528), 0);
    std::vector<work> list;
    for (std::uint64_t i = 0; i != 48; ++i)
        list.push_back(i % 4 == 3 ? fetch_add(i, a.segment(i * 1000, 8), b.remote(65528), 1)
                                  : read(i, {a.segment(i * 1000, 1000)}, b.remote(i * 1000)));
    post(a, std::move(list));
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i != 48; ++i) {
        a.completions->expect_success(i, i % 4 == 3 ? completion_opcode::fetch_add : completion_opcode::read);
        if (i % 4 == 3)
            expect_equal("old value", load_u64(a.buffer.at(i * 1000)), sum++);
        else
            expect(std::equal(a.buffer.at(i * 1000), a.buffer.at(i * 1000 + 1000), b.buffer.at(i * 1000)),
                "the bytes read");
    }
}

// More requests than the queue has slots between two reads, and a list that does not start at the first slot.
void reads_after_many_writes(world& home)
{
    end_options options;
    options.send_depth = 8;
    linked ends(home, options);
    auto& [a, b] = ends;
    fill(b.bytes(0, 8000), 63);
    std::uint64_t id = 0;
    for (std::size_t writes = 1; writes != 24; ++writes) {
        post(a, {read(id, {a.segment(0, 8)}, b.remote(0))});
        a.completions->expect_success(id++, completion_opcode::read);
        for (std::size_t i = 0; i != writes; ++i) {
            post(a, {write(id, {a.segment(8000, 8)}, b.remote(8000))});
            a.completions->expect_success(id++, completion_opcode::write);
        }
        fill_with(a.bytes(0, 8000), std::byte{0});
        std::vector<work> list;
        for (std::size_t i = 0; i != 8; ++i)
            list.push_back(read(id + i, {a.segment(i * 1000, 1000)}, b.remote(i * 1000)));
        post(a, std::move(list));
        for (std::size_t i = 0; i != 8; ++i)
            a.completions->expect_success(id++, completion_opcode::read);
        expect_pattern(a.bytes(0, 8000), 63);
    }
}

// The responder grants fewer than the initiator would like: the smaller number rules.
void reads_beyond_responder_resources(world& home)
{
    end_options eager;
    eager.path.initiator_depth = 16;
    end_options modest;
    modest.path.responder_resources = 1;
    modest.path.initiator_depth = 1;
    linked ends(home, eager, modest);
    auto& [a, b] = ends;
    fill(b.bytes(0, 32 * 700), 62);
    std::vector<work> list;
    for (std::uint64_t i = 0; i != 32; ++i)
        list.push_back(read(i, {a.segment(i * 700, 700)}, b.remote(i * 700)));
    post(a, std::move(list));
    for (std::uint64_t i = 0; i != 32; ++i)
        a.completions->expect_success(i, completion_opcode::read);
    expect_pattern(a.bytes(0, 32 * 700), 62);
}

constexpr conformance_case cases[] = {
    {"ordering/completions_in_order_posted", completions_in_order_posted},
    {"ordering/receives_in_order_posted", receives_in_order_posted},
    {"ordering/identifiers_are_returned_whole", identifiers_are_returned_whole},
    {"ordering/write_then_send_is_visible", write_then_send_is_visible},
    {"ordering/write_with_immediate_is_visible", write_with_immediate_is_visible},
    {"ordering/write_completion_means_placed", write_completion_means_placed},
    {"ordering/writes_land_in_order", writes_land_in_order},
    {"ordering/read_after_write_reads_it", read_after_write_reads_it},
    {"ordering/read_after_atomic_reads_it", read_after_atomic_reads_it},
    {"ordering/fenced_write_does_not_reach_earlier_read", fenced_write_does_not_reach_earlier_read},
    {"ordering/fenced_send_carries_bytes_just_read", fenced_send_carries_bytes_just_read},
    {"ordering/fence_without_reads_is_free", fence_without_reads_is_free},
    {"ordering/reads_beyond_initiator_depth", reads_beyond_initiator_depth},
    {"ordering/reads_after_many_writes", reads_after_many_writes},
    {"ordering/reads_beyond_responder_resources", reads_beyond_responder_resources},
};

} // namespace

case_table ordering_cases()
{
    return cases;
}

} // namespace penstock::conformance
