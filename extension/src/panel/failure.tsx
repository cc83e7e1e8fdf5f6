/** A failure with the button that resolves it, where there is one. */
import React from 'react';
import { Failure } from '../api/protocol';
import { FailureNote } from './controls';
import { DownloadButton } from './models/download_button';

export function FailureWithAction(props: {
  failure: Failure;
  children?: React.ReactNode;
}): JSX.Element {
  const { code, message } = props.failure;
  return code === 'model_not_on_disk' ? (
    // the button replaces the advice to use the command line
    <FailureNote failure={new Failure(code, message)}>
      <DownloadButton />
      {props.children}
    </FailureNote>
  ) : (
    <FailureNote {...props} />
  );
}
