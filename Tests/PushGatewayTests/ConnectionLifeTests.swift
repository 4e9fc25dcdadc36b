import NIOCore
import Testing

@testable import PushGateway
@testable import PushProviders

@Suite("whether a connection lives")
struct ConnectionLifeTests {
    private func looks(
        _ life: inout ConnectionLife, _ count: Int, every elapsed: TimeAmount = .milliseconds(250)
    ) -> [ConnectionLife.Verdict] {
        (0..<count).map { _ in life.look(after: elapsed, patience: .seconds(2), deadline: .seconds(4)) }
    }

    @Test("silence is asked about, and what says nothing for the deadline after that is dead")
    func dead() {
        var life = ConnectionLife()
        #expect(looks(&life, 8).allSatisfy { $0 == .alive }, "two seconds are borne")
        #expect(looks(&life, 1) == [.ask])
        #expect(looks(&life, 16).allSatisfy { $0 == .alive }, "asked once")
        #expect(looks(&life, 1) == [.dead])
    }

    @Test("any byte is a sign of life")
    func received() {
        var life = ConnectionLife()
        #expect(looks(&life, 9).last == .ask)
        #expect(looks(&life, 16).last == .alive)
        life.received()
        #expect(looks(&life, 8).allSatisfy { $0 == .alive })
        #expect(looks(&life, 1) == [.ask])
    }

    @Test("a process that was frozen and woken holds its own absence against nobody")
    func frozen() {
        var life = ConnectionLife()
        #expect(looks(&life, 2, every: .minutes(10)) == [.alive, .alive])
        #expect(looks(&life, 1) == [.ask])
        #expect(looks(&life, 3, every: .minutes(10)) == [.alive, .alive, .alive])
        #expect(looks(&life, 4).allSatisfy { $0 == .alive })
        #expect(looks(&life, 1) == [.dead], "but four seconds of its own, awake, without an answer")
    }
}
