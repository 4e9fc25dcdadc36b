public import ArgumentParser
public import ChallengeModel
public import ServiceSupport

// Values of options. A wrong word is answered with the list of the right ones.

extension Role: ExpressibleByArgument {}
extension Topic: ExpressibleByArgument {}
extension TopicUser: ExpressibleByArgument {}
