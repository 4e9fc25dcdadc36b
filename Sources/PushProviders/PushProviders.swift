package import ChallengeModel

/// The providers that Beckon can push with.
package enum PushProviders {
    /// One line each; everything else about a provider is in its folder.
    package static let all: [any PushProvider] = [
        APNs(),
        FCM(),
        HMS(),
    ]

    package static func provider(of platform: Platform) -> (any PushProvider)? {
        all.first { $0.platform == platform }
    }

    package static func provider(ofType word: String) -> (any PushProvider)? { all.first { $0.word == word } }

    /// All settings that say where a provider is.
    package static let endpoints = all.flatMap(\.endpoints)

    /// Nil for a platform that nobody pushes to. Asked for each push, so it is looked up by number.
    package static func traits(of platform: Platform) -> ProviderTraits? {
        let number = platform.rawValue
        return traitsByNumber.indices.contains(number) ? traitsByNumber[number] : nil
    }

    private static let traitsByNumber: [ProviderTraits?] = {
        var traits = [ProviderTraits?](repeating: nil, count: (all.map(\.platform.rawValue).max() ?? 0) + 1)
        for provider in all { traits[provider.platform.rawValue] = provider.traits }
        return traits
    }()

    /// - Throws: ``UnusableCredential``.
    package static func open(_ credential: ProviderCredential) throws -> any OpenCredential {
        guard let secret = credential.secret else { throw UnusableCredential("it holds no secret") }
        for provider in all {
            if let open = try provider.open(secret) { return open }
        }
        throw UnusableCredential("no provider here has a secret of this kind")
    }
}

extension Platform {
    /// The provider's word, `none` for no push at all; nil for a platform without a provider here.
    package var word: String? { self == .noPush ? "none" : PushProviders.provider(of: self)?.word }
}

extension PushOutcome {
    /// Says in neutral terms why a push was refused: cause and error code. A record that has them, and one of a push that was
    /// not refused, stays as it is.
    ///
    /// The dispatcher does this with what it writes. Who reads outcomes does it once more, for records of a version that wrote
    /// neither.
    package mutating func explain() {
        switch disposition {
        case .rejected, .tokenDead, .credentialFault: break
        default: return
        }
        guard cause == .unspecified else { return }
        let provider = PushProviders.provider(of: platform)
        switch disposition {
        case .tokenDead: cause = .tokenDead
        case .credentialFault: cause = .credentialRefused
        default: cause = provider?.isTokenUnknown(reason) ?? false ? .tokenUnknown : .pushRefused
        }
        let failure = PushFailure(disposition: disposition, status: providerStatus, reason: reason)
        errorCode = platform == .noPush ? 52301 : provider?.errorCode(of: failure) ?? failure.unnamedCode
    }
}

extension PushFailure {
    /// Of a provider without codes of its own.
    var unnamedCode: UInt32 { disposition == .tokenDead ? 52001 : 52000 }
}
