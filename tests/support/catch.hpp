// Catch2 2 and 3 under one name. Tests write `Approx` unqualified, and no string matchers: their names differ.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif
