// How likely an object is to be lost when instances are reclaimed: InfiniCache's model.
//
// Source: Wang et al., "InfiniCache", USENIX FAST 2020, section 4.3. An object of n = d+p chunks on
// n distinct of N nodes is lost if more than p of its nodes are reclaimed before what was lost is
// restored (by backup there, by repair here). With r nodes reclaimed at once, each set of r being
// equally likely, the number of the object's nodes among them is hypergeometric:
//
//   P(r) = sum over i = p+1 .. n of C(n, i) * C(N-n, r-i) / C(N, r)
//
// This is the exact sum; the paper goes on with its first term. If a share p_d(r) of all windows
// has r reclaims, an object is lost in a window with P_l = sum over r of P(r) * p_d(r), and
// survives w windows with (1 - P_l)^w.
//
// Pure. Cost: O(n) for P(r), with logarithms of factorials; exact to about 1e-10.
#pragma once

#include <cstdint>
#include <span>

namespace infinicache::policy {

// P(r). REQUIRES: data >= 1, data + parity <= nodes, reclaimed <= nodes.
double LossProbability(std::uint64_t nodes, unsigned data, unsigned parity,
                       std::uint64_t reclaimed);

// P_l over windows in which so many nodes were reclaimed each; what is above `nodes` counts as all
// of them. 0 without windows. Other requirements as above.
double WindowLossProbability(std::uint64_t nodes, unsigned data, unsigned parity,
                             std::span<const std::uint64_t> reclaimed_by_window);

// (1 - loss)^windows. REQUIRES: 0 <= loss <= 1.
double Availability(double loss_per_window, double windows);

}  // namespace infinicache::policy
