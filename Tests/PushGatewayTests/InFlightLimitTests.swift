import Testing

@testable import PushGateway
@testable import PushProviders

@Suite("how many pushes may be outstanding")
struct InFlightLimitTests {
    /// A provider that answers after `latencyMs`, or not at all, and what is sent to it every millisecond.
    private struct World {
        var limit: InFlightLimit
        var nowMs: Int64 = 1_800_000_000_000
        var open: [(enteredMs: Int64, endMs: Int64, event: CircuitBreaker.Event)] = []
        var sent = 0
        var refused = 0

        init(ceiling: Int = 1024) {
            var settings = InFlightLimit.Settings()
            settings.ceiling = ceiling
            limit = InFlightLimit(settings: settings)
        }

        /// - Parameter fate: of the push with this number: when its end comes, and what it is.
        mutating func run(
            ms: Int64, perMs: Int = 1, _ fate: (Int) -> (afterMs: Int64, event: CircuitBreaker.Event)
        ) {
            for _ in 0..<ms {
                nowMs += 1
                let due = open.filter { $0.endMs <= nowMs }
                open.removeAll { $0.endMs <= nowMs }
                for push in due { limit.leave(push.event, enteredMs: push.enteredMs, nowMs: nowMs) }
                limit.look(nowMs: nowMs)
                for _ in 0..<perMs {
                    guard limit.hasRoom else {
                        refused += 1
                        continue
                    }
                    limit.enter(nowMs: nowMs)
                    let (afterMs, event) = fate(sent)
                    open.append((nowMs, nowMs + afterMs, event))
                    sent += 1
                }
            }
        }
    }

    private static let timeout = CircuitBreaker.Event.failure(retryAfterMs: 0)

    @Test("while all is well nothing is refused, however many are outstanding")
    func well() {
        var world = World(ceiling: 100)
        world.run(ms: 5000) { _ in (300, .success) }
        #expect(world.limit.inFlight == 300)
        #expect(world.refused == 0 && !world.limit.isLowered)
    }

    @Test("one in a hundred that is never answered lowers nothing")
    func silentShare() {
        var world = World()
        world.run(ms: 30_000) { $0 % 100 == 7 ? (10_000, Self.timeout) : (50, .success) }
        #expect(world.refused == 0 && !world.limit.isLowered)
    }

    @Test(
        "ninety-nine in a hundred that hang: seen long before the first deadline, half of the ceiling, then less, never none"
    )
    func hangs() {
        var world = World(ceiling: 2304)
        world.run(ms: 5000) { _ in (50, .success) }
        let fate: (Int) -> (afterMs: Int64, event: CircuitBreaker.Event) = {
            $0 % 100 == 0 ? (50, .success) : (10_000, Self.timeout)
        }
        world.run(ms: 2000, fate)
        #expect(world.limit.limit == 1152)
        world.run(ms: 7900, fate)
        #expect(world.limit.inFlight < 1800, "what came until it was seen; the deadlines would let it be 10,000")
        #expect(world.limit.limit >= 1152, "slowness alone takes half")
        world.run(ms: 5000, fate)
        #expect(world.limit.limit < 300, "what timed out counts as failed")
        world.run(ms: 60_000, fate)
        #expect(world.limit.limit >= 32)
        #expect(world.limit.inFlight > 0)
        world.run(ms: 20_000) { _ in (50, .success) }
        #expect(!world.limit.isLowered, "and all of it again when the provider is well")
    }

    @Test("a share of 429 and 503 halves it, again and again, down to a few; then it rises step by step")
    func refusals() {
        var world = World(ceiling: 1024)
        world.run(ms: 3000) { $0 % 5 == 0 ? (20, $0 % 2 == 0 ? .pause(ms: 1000) : Self.timeout) : (20, .success) }
        #expect(world.limit.limit == 32)
        world.run(ms: 1000) { _ in (20, .success) }
        #expect(world.limit.limit == 32 + 3 * 32 || world.limit.limit == 32 + 4 * 32)
        world.run(ms: 9000) { _ in (20, .success) }
        #expect(!world.limit.isLowered)
    }

    @Test("hundreds that fail together, as of a lost connection, are one failure")
    func together() {
        var world = World(ceiling: 1024)
        let at = world.nowMs + 500
        world.run(ms: 499) { sent in (500 - Int64(sent), Self.timeout) }
        world.run(ms: 100) { _ in (20, .success) }
        #expect(at < world.nowMs)
        #expect(world.limit.limit == 512)
    }

    @Test("refused credentials and refused tokens are not what it is about")
    func otherFaults() {
        var world = World()
        world.run(ms: 3000) { (20, $0 % 2 == 0 ? .credentialFault : .success) }
        world.run(ms: 1000) { _ in (0, .neutral) }
        #expect(!world.limit.isLowered)
    }

    @Test("answers that become six times slower, within a second and a half, lower nothing; sixty times do")
    func slower() {
        var world = World()
        world.run(ms: 5000) { _ in (50, .success) }
        world.run(ms: 3000) { _ in (300, .success) }
        #expect(!world.limit.isLowered)
        world.run(ms: 4000) { _ in (3000, .success) }
        #expect((512..<700).contains(world.limit.limit), "\(world.limit.limit)")
    }

    @Test("a provider that is always slow is late against what it usually takes")
    func ownBaseline() {
        var world = World(ceiling: 5000)
        world.run(ms: 10_000) { _ in (450, .success) }
        world.run(ms: 5000) { _ in (2500, .success) }
        #expect(!world.limit.isLowered, "within eight times")
    }

    @Test("clocks that are set, and standstills, neither trap nor lower it")
    func clocks() {
        var world = World()
        world.run(ms: 2000) { _ in (50, .success) }
        for step: Int64 in [3_600_000, -7_200_000, 20_000, -100] {
            world.nowMs += step
            world.run(ms: 2000) { _ in (50, .success) }
            #expect(!world.limit.isLowered)
        }
    }
}
