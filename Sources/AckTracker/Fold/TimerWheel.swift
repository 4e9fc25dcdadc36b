/// A hierarchical timer wheel: four levels of 256 slots, one timer per id, schedule and cancel O(1), no allocation per
/// timer. A tick is whatever the caller says (10 ms in the tracker). A pure value; time comes in through
/// ``advance(to:_:)``.
struct TimerWheel: Sendable {
    private static let levels = 4
    private static let none = UInt32.max
    private static let unplaced = UInt16.max
    private static let farthest: UInt64 = 1 << 32

    /// First id of each slot's list.
    private var heads = [UInt32](repeating: TimerWheel.none, count: TimerWheel.levels * 256)
    // Indexed by id: a doubly linked list through the ids themselves.
    private var next: [UInt32] = []
    private var previous: [UInt32] = []
    private var place: [UInt16] = []
    private var deadlines: [UInt64] = []

    /// The last tick that has fired.
    private(set) var now: UInt64
    /// Timers scheduled and not fired.
    private(set) var count = 0

    init(now: UInt64 = 0) { self.now = now }

    /// Sets the one timer of `id`. A tick that has passed fires at the next.
    mutating func schedule(_ id: UInt32, at tick: UInt64) {
        cancel(id)
        grow(to: Int(id))
        deadlines[Int(id)] = max(tick, now + 1)
        link(id)
        count += 1
    }

    /// An id without a timer is ignored.
    mutating func cancel(_ id: UInt32) {
        guard Int(id) < place.count, place[Int(id)] != Self.unplaced else { return }
        unlink(id)
        count -= 1
    }

    /// When the timer of `id` fires; nil when it has none.
    func deadline(of id: UInt32) -> UInt64? {
        guard Int(id) < place.count, place[Int(id)] != Self.unplaced else { return nil }
        return deadlines[Int(id)]
    }

    /// Fires everything up to and with `tick`, tick by tick. `fire` must not touch the wheel.
    mutating func advance(to tick: UInt64, _ fire: (UInt32) -> Void) {
        while now < tick {
            guard count > 0 else {
                now = tick
                return
            }
            now += 1
            var level = 1
            while level < Self.levels, now & ((1 << (8 * UInt64(level))) - 1) == 0 {
                cascade(level)
                level += 1
            }
            let slot = Int(now & 255)
            var id = heads[slot]
            heads[slot] = Self.none
            while id != Self.none {
                let following = next[Int(id)]
                place[Int(id)] = Self.unplaced
                if deadlines[Int(id)] <= now {
                    count -= 1
                    fire(id)
                } else {
                    // Farther away than the wheel reaches when it was set.
                    link(id)
                }
                id = following
            }
        }
    }

    private mutating func cascade(_ level: Int) {
        let slot = level * 256 + Int((now >> (8 * UInt64(level))) & 255)
        var id = heads[slot]
        heads[slot] = Self.none
        while id != Self.none {
            let following = next[Int(id)]
            link(id)
            id = following
        }
    }

    private mutating func link(_ id: UInt32) {
        let distance = min(deadlines[Int(id)] - now, Self.farthest - 1)
        let target = now + distance
        var level = 0
        while level < Self.levels - 1, distance >= 1 << (8 * UInt64(level + 1)) { level += 1 }
        let slot = level * 256 + Int((target >> (8 * UInt64(level))) & 255)
        let head = heads[slot]
        next[Int(id)] = head
        previous[Int(id)] = Self.none
        if head != Self.none { previous[Int(head)] = id }
        heads[slot] = id
        place[Int(id)] = UInt16(slot)
    }

    private mutating func unlink(_ id: UInt32) {
        let before = previous[Int(id)]
        let after = next[Int(id)]
        if before == Self.none {
            heads[Int(place[Int(id)])] = after
        } else {
            next[Int(before)] = after
        }
        if after != Self.none { previous[Int(after)] = before }
        place[Int(id)] = Self.unplaced
    }

    private mutating func grow(to id: Int) {
        guard id >= place.count else { return }
        let more = max(id + 1, min(place.count * 2, place.count + 65_536)) - place.count
        next.append(contentsOf: repeatElement(Self.none, count: more))
        previous.append(contentsOf: repeatElement(Self.none, count: more))
        place.append(contentsOf: repeatElement(Self.unplaced, count: more))
        deadlines.append(contentsOf: repeatElement(0, count: more))
    }
}
