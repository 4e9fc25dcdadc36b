import ChallengeModel
import TestSupport
import Testing

@testable import AckTracker

@Suite("Packed storage")
struct StorageTests {
    @Test("a SID keeps its 16 bytes and comes back as text")
    func packedSID() throws {
        for _ in 0..<100 {
            let sid = ChallengeSID.generate(variant: 3, nowMs: 1_760_000_000_000)
            let packed = try #require(PackedSID(sid.rawValue, prefix: "YC"))
            #expect(packed.text(prefix: "YC") == sid.rawValue)
        }
        #expect(PackedSID("YC12", prefix: "YC") == nil)
        #expect(PackedSID("YF" + String(repeating: "0", count: 32), prefix: "YC") == nil)
        #expect(PackedSID("YC" + String(repeating: "g", count: 32), prefix: "YC") == nil)
    }

    @Test("the table agrees with a dictionary through inserts, removals and reuse")
    func table() {
        var generator = SeededGenerator(seed: 9)
        var table = HeldTable()
        var expected: [PackedSID: UInt32] = [:]
        var known: [PackedSID] = []
        for _ in 0..<20_000 {
            if expected.count < 200 || Bool.random(using: &generator), expected.count < 3_000 {
                let sid = PackedSID(high: generator.next() & 0xff, low: generator.next())
                expected[sid] = table.insert(Held(sid: sid, anchorMs: 1))
                known.append(sid)
            } else if let index = known.indices.randomElement(using: &generator) {
                let sid = known.remove(at: index)
                if let slot = expected.removeValue(forKey: sid) { table.remove(slot) }
                #expect(table.find(sid) == nil)
            }
        }
        #expect(table.count == expected.count)
        for (sid, slot) in expected {
            #expect(table.find(sid) == slot)
            #expect(table[slot].sid == sid)
        }
        #expect(Set(table.slots) == Set(expected.values))
    }

    @Test(
        "cold data comes back as it went in",
        arguments: [
            "", "a", "aabb", String(repeating: "0f", count: 32), "deadBEEF", "Ünïcode ✓",
            String(repeating: "x", count: 300),
        ])
    func cold(text: String) {
        var cold = ColdRecord()
        cold.entity = "YE" + String(repeating: "ab", count: 16)
        cold.identity = text
        cold.message = text + "!"
        cold.traceparent = "00-" + String(repeating: "ab", count: 16) + "-" + String(repeating: "cd", count: 8) + "-01"
        cold.fallbacks = ["sms", text]
        cold.pushTokens = [text, "", String(repeating: "ab", count: 32)]
        #expect(ColdRecord(packed: cold.packed()) == cold)
        #expect(ColdRecord(packed: []) == ColdRecord())
    }

    @Test("one challenge with one device takes no more than 224 bytes beside its text")
    func size() {
        #expect(MemoryLayout<Held>.stride <= 224, "\(MemoryLayout<Held>.stride), device \(MemoryLayout<Device>.stride)")
    }
}
