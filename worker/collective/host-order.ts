// The order of the hosts in a ring, from the bandwidth between each two: pure. A ring is as fast as its slowest connection, so
// the slow ones should not be in it. With two hosts there is but one order.
//
//     a, b in one rack, c, d in another, 10 Gb/s inside and 1 Gb/s between    a-c-b-d-a  crosses 4 times, two streams a wire
//                                                                             a-b-c-d-a  crosses twice
//
// An order costs the sum over its connections of the cubes of the times that a byte takes: near enough to the slowest alone, and yet
// it tells two slow connections, which may be one wire, from four. The order is improved by reversing stretches of it (2-opt)
// until no reversal helps, and taken only if it is clearly better than that of the ranks: measurements vary, and the order of
// the ring is the order of the additions.

/** The times of another order than the ranks' must be shorter by this factor, in the cubic mean. */
const worthwhile = 1.25;

/** `bandwidth[i][j]`, any unit, is alike both ways. A permutation of the hosts, beginning with 0. */
export function orderHosts(bandwidth: readonly (readonly number[])[]): number[] {
  const given = bandwidth.map((_, host) => host);
  let best = given;
  for (let improved: number[] | undefined = best; improved !== undefined; improved = improve(best, bandwidth)) {
    best = improved;
  }
  const isNoSlower = slowestIn(best, bandwidth) >= slowestIn(given, bandwidth);
  return isNoSlower && costOf(best, bandwidth) * worthwhile ** 3 <= costOf(given, bandwidth) ? best : given;
}

/** The bandwidth of the slowest connection of a ring. */
export function slowestIn(order: readonly number[], bandwidth: readonly (readonly number[])[]): number {
  return Math.min(...connectionsOf(order, bandwidth));
}

function improve(order: readonly number[], bandwidth: readonly (readonly number[])[]): number[] | undefined {
  const before = costOf(order, bandwidth);
  let best: { readonly order: number[]; readonly cost: number } | undefined;
  for (let from = 1; from < order.length - 1; from++) {
    for (let to = from + 2; to <= order.length; to++) {
      const turned = [...order.slice(0, from), ...order.slice(from, to).reverse(), ...order.slice(to)];
      const cost = costOf(turned, bandwidth);
      // More than rounding: else two orders that are alike would follow each other for ever.
      if (cost < (best?.cost ?? before) * (1 - 1e-9)) best = { order: turned, cost };
    }
  }
  return best?.order;
}

function costOf(order: readonly number[], bandwidth: readonly (readonly number[])[]): number {
  return connectionsOf(order, bandwidth).reduce((sum, each) => sum + each ** -3, 0);
}

function connectionsOf(order: readonly number[], bandwidth: readonly (readonly number[])[]): number[] {
  return order.map((host, place) => bandwidth[host]![order[(place + 1) % order.length]!]!);
}
