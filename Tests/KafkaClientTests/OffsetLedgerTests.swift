import KafkaClient
import TestSupport
import Testing

@Suite("The offset ledger")
struct OffsetLedgerTests {
    @Test("the commit is the contiguous prefix, whatever order records are done in")
    func prefix() {
        var ledger = OffsetLedger(start: 10)
        for offset: Int64 in 10..<15 { ledger.take(offset) }
        ledger.complete(12)
        ledger.complete(11)
        #expect(ledger.committable == 10 && ledger.inFlight == 3)
        ledger.complete(10)
        #expect(ledger.committable == 13 && ledger.span == 2)
        ledger.complete(14)
        ledger.complete(13)
        #expect(ledger.committable == 15 && ledger.inFlight == 0 && ledger.span == 0)
    }

    @Test("twice is once, and what was never taken is ignored")
    func twice() {
        var ledger = OffsetLedger(start: 0)
        ledger.take(0)
        ledger.take(1)
        ledger.complete(1)
        ledger.complete(1)
        ledger.complete(99)
        ledger.complete(-1)
        #expect(ledger.committable == 0 && ledger.inFlight == 1)
    }

    @Test("what is given up is read again from the commit on")
    func reset() {
        var ledger = OffsetLedger(start: 5)
        for offset: Int64 in 5..<9 { ledger.take(offset) }
        ledger.complete(7)
        #expect(ledger.reset() == [5, 6, 8])
        #expect(ledger.committable == 5 && ledger.next == 5 && ledger.inFlight == 0)
        ledger.take(5)
        ledger.complete(5)
        #expect(ledger.committable == 6)
    }

    @Test("agrees with a naive model over random histories with gaps", arguments: 0..<200)
    func model(seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        var ledger = OffsetLedger(start: 100)
        var taken: [Int64] = []
        var done: Set<Int64> = []
        var next: Int64 = 100
        for _ in 0..<400 {
            if Bool.random(using: &generator) || taken.count == done.count {
                next +=
                    Int64.random(in: 0...9, using: &generator) == 0 ? Int64.random(in: 1...50, using: &generator) : 0
                ledger.take(next)
                taken.append(next)
                next += 1
            } else {
                let offset = taken.filter { !done.contains($0) }.randomElement(using: &generator)!
                ledger.complete(offset)
                done.insert(offset)
            }
            let open = taken.filter { !done.contains($0) }
            #expect(ledger.inFlight == open.count)
            if let first = open.first {
                #expect(ledger.committable == first)
            } else if !taken.isEmpty {
                #expect(ledger.committable == next)
            }
        }
    }
}

@Suite("murmur2")
struct Murmur2Tests {
    @Test(
        "agrees with Kafka's own test vectors",
        arguments: [
            ("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971), ("abc", 479_470_107),
        ])
    func vectors(key: String, hash: Int32) {
        #expect(Int32(bitPattern: Murmur2.hash(Array(key.utf8))) == hash)
    }
}
