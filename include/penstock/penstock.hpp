#pragma once

// What programs use. Those that care about their compile time include what they use; the storage headers need
// penstock::storage to link, all others penstock::penstock.

#include <penstock/completion/asio_driver.hpp>
#include <penstock/completion/library_thread.hpp>
#include <penstock/completion/poller.hpp>
#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>
#include <penstock/connection/runtime.hpp>
#include <penstock/core/error.hpp>
#include <penstock/core/log.hpp>
#include <penstock/fabric/device.hpp>
#include <penstock/fabric/tcp.hpp>
#include <penstock/fabric/verbs.hpp>
#include <penstock/memory/local_buffer.hpp>
#include <penstock/memory/memory_pool.hpp>
#include <penstock/storage/client.hpp>
#include <penstock/storage/object.hpp>
#include <penstock/storage/server.hpp>
#include <penstock/storage/uri.hpp>
#include <penstock/transfer/batch.hpp>
#include <penstock/transfer/message.hpp>
#include <penstock/transfer/remote_access.hpp>
#include <penstock/transfer/transfer.hpp>
