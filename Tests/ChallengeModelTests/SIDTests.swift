import ChallengeModel
import Testing

@Suite("SIDs")
struct SIDTests {
    @Test("a generated SID has its kind's form and is found valid again")
    func generated() throws {
        let sid = ChallengeSID.generate(variant: 3, nowMs: 1_760_000_000_000)
        #expect(sid.rawValue.hasPrefix("YC03"))
        #expect(sid.rawValue.utf8.count == 34)
        #expect(ChallengeSID(sid.rawValue) == sid)
        #expect(ChallengeSID(bytes: sid.bytes) == sid)
    }

    @Test("later SIDs sort behind earlier ones")
    func ordered() {
        let sids = (0..<100).map { FactorSID.generate(variant: 3, nowMs: 1_760_000_000_000 + Int64($0)) }
        #expect(sids.sorted() == sids)
    }

    @Test(
        "what is not two letters and 32 hexadecimal digits is refused",
        arguments: [
            "", "YC", "YC03", "YF0300000000000000000000000000000a", "YC0300000000000000000000000000000",
            "YC03000000000000000000000000000000a",
            "yc0300000000000000000000000000000a", "YC030000000000000000000000000000g0",
            "YC03000000000000000000000000000é",
        ])
    func refused(text: String) {
        #expect(ChallengeSID(text) == nil)
    }

    @Test("upper-case digits are lowered")
    func lowered() {
        #expect(ChallengeSID("YC0300000000000000000000000000ABCD")?.rawValue == "YC0300000000000000000000000000abcd")
    }

    @Test(
        "a dispatch id reads back as what it was",
        arguments: ["c", "t1", "t65535", "n:NT00000000000000000000000000000001"])
    func dispatchRoundTrip(text: String) {
        #expect(DispatchID(text)?.description == text)
    }

    @Test(
        "no other dispatch id is read",
        arguments: ["", "C", "t", "t0", "t-1", "t65536", "n:", "n:YC0300000000000000000000000000000a", "x1"])
    func dispatchRefused(text: String) {
        #expect(DispatchID(text) == nil)
    }
}
